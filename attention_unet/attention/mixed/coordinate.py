"""Coordinate attention: one weight per channel and position along each axis."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, open_up
from attention_unet.layers.normalization import EightChannelNorm


class CoordinateAttention(Attention):
    """Coordinate attention (Hou, Zhou, Feng, "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021)::

        f = hswish(norm(W [z_1; ...; z_d])),  s_a = sigmoid(W_a f_a),  y = s_1 * ... * s_d * x

    with z_a the mean of x over all axes but a, joined along their length, and f_a the part of axis a. W leads to C / 32
    channels, at least 8. Normalisation is in groups of eight channels; the authors normalise over the batch.

    Args:
        reduction: C over the channels of f, which are at least 8.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, reduction: int = 32) -> None:
        super().__init__()
        hidden = max(place.channels // reduction, 8)
        self.reduce = nn.Conv1d(place.channels, hidden, kernel_size=1)
        self.norm = EightChannelNorm(hidden)
        self.expand = nn.ModuleList(nn.Conv1d(hidden, place.channels, kernel_size=1) for _ in range(place.dims))
        if place.open:
            for layer in self.expand:
                open_up(layer)  # type: ignore[arg-type]  # a convolution

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0, 1)."""
        axes = range(2, x.dim())
        means = [x.mean(dim=[other for other in axes if other != axis]) for axis in axes]
        along = F.hardswish(self.norm(self.reduce(torch.cat(means, dim=2))))
        weights = torch.ones_like(x)
        start = 0
        for i, expand in enumerate(self.expand):
            n = x.shape[2 + i]
            factor = torch.sigmoid(expand(along[:, :, start : start + n])).to(x.dtype)
            weights = weights * factor.reshape(*factor.shape[:2], *[n if axis == 2 + i else 1 for axis in axes])
            start += n
        return Attended(x * weights, weights)
