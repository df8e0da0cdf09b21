"""Spatial attention of CBAM: the weight of a voxel from the mean and the maximum over channels."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Init, open_up
from attention_unet.layers.dimensions import CONV

KERNEL = {2: 7, 3: 5}


class PooledSpatialAttention(Attention):
    """Spatial part of CBAM (Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018)::

        M = sigmoid(f([mean_c x; max_c x])),  y = M * x

    with f one k x k (x k) convolution of the two maps to one; k is 7 in 2-D as published, and 5 in 3-D.

    Args:
        dims: 2 or 3 spatial dimensions.
        init: "paper" has no bias (M is about 0.5 at the start); "open" adds one and starts at about 0.95.
    """

    kind: str = "spatial"

    def __init__(self, dims: int, init: Init = "open") -> None:
        super().__init__()
        self.conv = CONV[dims](2, 1, kernel_size=KERNEL[dims], padding=KERNEL[dims] // 2, bias=init == "open")
        if init == "open":
            open_up(self.conv)
        else:
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="sigmoid")

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1)."""
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        weights = torch.sigmoid(self.conv(pooled)).to(x.dtype)
        return Attended(x * weights, weights)
