"""Triplet attention: one map for each axis that is averaged away; the channels count as an axis."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, odd, open_up
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import BatchNorm


class TripletAttention(Attention):
    """Triplet attention (Misra, Nalamada, Arasanipalai, Hou, "Rotate to Attend", WACV 2021)::

        M_a = sigmoid(norm(f_a([max_a x; mean_a x]))),  y = x * mean_a M_a

    with a each axis of (C, *S), channels too: maximum and mean over it leave a map of the others, on which f_a is one
    convolution of kernel k. In 2-D there are three maps, as published, in 3-D four. The order of the channels has only
    the meaning that training gives it.

    Args:
        place: where it sits; the "paper" start normalises over the batch, the open one has a bias instead.
        kernel: k, an odd number; if None 7 in 2-D, and 5 in 3-D.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, kernel: int | None = None) -> None:
        super().__init__()
        k = odd(kernel or {2: 7, 3: 5}[place.dims])
        self.branches = nn.ModuleList()
        for _ in range(place.dims + 1):
            conv = CONV[place.dims](2, 1, kernel_size=k, padding=k // 2, bias=place.open)
            if place.open:
                open_up(conv)
            self.branches.append(conv if place.open else nn.Sequential(conv, BatchNorm(1)))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0, 1)."""
        total = torch.zeros_like(x)
        for axis, branch in enumerate(self.branches, start=1):
            pooled = torch.stack([x.amax(dim=axis), x.mean(dim=axis)], dim=1)
            total = total + torch.sigmoid(branch(pooled)).squeeze(1).unsqueeze(axis).to(x.dtype)
        return apply_weights(x, total / len(self.branches))
