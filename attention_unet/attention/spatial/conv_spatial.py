"""Spatial attention from convolutions of all channels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, hidden_channels, open_up
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import EightChannelNorm


class ConvSpatialAttention(Attention):
    """Map from two convolutions::

        M = sigmoid(f3(relu(norm(W x)))),  y = M * x

    with W (1 x 1) from C to C / 8 channels, the norm in groups of eight, and f3 (3 x 3 (x 3)) to one. It is a
    common construction without its own paper. The nearest is the spatial branch of BAM (Park et al., "BAM: Bottleneck
    Attention Module", BMVC 2018).

    Args:
        reduction: C over the hidden channels, as in ``hidden_channels``.
    """

    kind: str = "spatial"

    def __init__(self, place: Place, *, reduction: int = 8) -> None:
        super().__init__()
        hidden = hidden_channels(place, reduction)
        self.reduce = CONV[place.dims](place.channels, hidden, kernel_size=1, bias=False)
        self.norm = EightChannelNorm(hidden)
        self.conv = CONV[place.dims](hidden, 1, kernel_size=3, padding=1)
        if place.open:
            open_up(self.conv)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1)."""
        return apply_weights(x, torch.sigmoid(self.conv(F.relu(self.norm(self.reduce(x))))))
