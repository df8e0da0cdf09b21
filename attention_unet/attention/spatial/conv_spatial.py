"""Spatial attention from convolutions of all channels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Init, open_up
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import InstanceNorm


class ConvSpatialAttention(Attention):
    """Map from two convolutions::

        M = sigmoid(f3(relu(norm(W x)))),  y = M * x

    with W (1 x 1) from C to C / 8 channels (at least one), and f3 (3 x 3 (x 3)) to one. It is a common construction
    without its own paper. The nearest is the spatial branch of BAM (Park et al., "BAM: Bottleneck Attention Module",
    BMVC 2018).

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
        init: "paper" keeps torch's initial values; "open" starts at about 0.95.
    """

    kind: str = "spatial"

    def __init__(self, dims: int, channels: int, init: Init = "open") -> None:
        super().__init__()
        hidden = max(channels // 8, 1)
        self.reduce = CONV[dims](channels, hidden, kernel_size=1, bias=False)
        self.norm = InstanceNorm(hidden)
        self.conv = CONV[dims](hidden, 1, kernel_size=3, padding=1)
        if init == "open":
            open_up(self.conv)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1)."""
        weights = torch.sigmoid(self.conv(F.relu(self.norm(self.reduce(x))))).to(x.dtype)
        return Attended(x * weights, weights)
