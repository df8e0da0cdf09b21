"""CBAM-style spatial attention: where to look, from the mean and the maximum over channels."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Init, open_up
from attention_unet.layers.dimensions import CONV, per_axis


class PooledSpatialAttention(Attention):
    """Spatial part of CBAM: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018::

        M = sigmoid(f([mean_c x; max_c x])),  y = M * x

    with f one k x k (x k) convolution of the two maps to one.

    Args:
        dims: 2 or 3 spatial dimensions.
        kernel: odd size of the convolution, one for all axes or one each; 7 in 2-D as published, 5 in 3-D by default.
        init: "paper" has no bias (M is about 0.5 at the start); "open" adds one and starts at about 0.95.
    """

    kind: str = "spatial"

    def __init__(self, dims: int, kernel: int | tuple[int, ...] | None = None, init: Init = "open") -> None:
        super().__init__()
        size = per_axis(kernel if kernel is not None else {2: 7, 3: 5}[dims], dims)
        padding = tuple(k // 2 for k in size)
        self.conv = CONV[dims](2, 1, kernel_size=size, padding=padding, bias=init == "open")
        if init == "open":
            open_up(self.conv)
        else:
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="sigmoid")

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1). ``gate`` is not looked at."""
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        weights = torch.sigmoid(self.conv(pooled)).to(x.dtype)
        return Attended(x * weights, weights)
