"""Spatial attention of CBAM: the weight of a voxel from the mean and the maximum over channels."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, odd, open_up
from attention_unet.layers.dimensions import CONV


class PooledSpatialAttention(Attention):
    """Spatial part of CBAM (Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018)::

        M = sigmoid(f([mean_c x; max_c x])),  y = M * x

    with f one k x k (x k) convolution of the two maps to one; k is 7 in 2-D as published, and 5 in 3-D.

    Args:
        place: where it sits; the "paper" start has no bias, so that M is about 0.5.
        kernel: k, an odd number; if None 7 in 2-D, and 5 in 3-D.
    """

    kind: str = "spatial"

    def __init__(self, place: Place, *, kernel: int | None = None) -> None:
        super().__init__()
        k = odd(kernel or {2: 7, 3: 5}[place.dims])
        self.conv = CONV[place.dims](2, 1, kernel_size=k, padding=k // 2, bias=place.open)
        if place.open:
            open_up(self.conv)
        else:
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="sigmoid")

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1)."""
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return apply_weights(x, torch.sigmoid(self.conv(pooled)))
