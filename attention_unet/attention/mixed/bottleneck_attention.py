"""Bottleneck attention module: channel and spatial weights from two branches, added before one sigmoid."""

from typing import Literal

import torch
from torch import Tensor, nn

from attention_unet.attention.base import (
    OPEN_BIAS,
    Attended,
    Attention,
    Place,
    broadcast_channels,
    hidden_channels,
    open_up,
)
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import EightChannelNorm


class BottleneckAttention(Attention):
    """BAM (Park, Woo, Lee, Kweon, "BAM: Bottleneck Attention Module", BMVC 2018)::

        M = sigmoid(M_c + M_s),  y = (1 + M) * x,  M_c = W2 relu(W1 mean_n x),
        M_s = f1(relu(norm(f3(relu(norm(f3(relu(norm(f1 x))))))))

    with f1 a 1 x 1 (x 1) convolution, and f3 a 3 x 3 (x 3) one whose taps are 4 voxels apart, in C / 16 channels. The
    authors' code multiplies M_c and M_s. They normalise over the batch, M_c and M_s too; here only the hidden maps of
    M_s are normalised, in groups of eight channels.

    Args:
        reduction: C over the hidden channels, as in ``hidden_channels``.
        dilation: distance of the taps.
        combine: "add" M_c and M_s as in the paper, or "multiply" them as in the authors' code.
    """

    kind: str = "mixed"

    def __init__(
        self, place: Place, *, reduction: int = 16, dilation: int = 4, combine: Literal["add", "multiply"] = "add"
    ) -> None:
        super().__init__()
        conv, channels, hidden = CONV[place.dims], place.channels, hidden_channels(place, reduction)

        def dilated() -> list[nn.Module]:
            layer = conv(hidden, hidden, kernel_size=3, padding=dilation, dilation=dilation)
            return [layer, EightChannelNorm(hidden), nn.ReLU()]

        last_channel, last_spatial = nn.Linear(hidden, channels), conv(hidden, 1, kernel_size=1)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), last_channel)
        first = [conv(channels, hidden, kernel_size=1), EightChannelNorm(hidden), nn.ReLU()]
        self.spatial = nn.Sequential(*first, *dilated(), *dilated(), last_spatial)
        self.multiply = combine == "multiply"
        if place.open:
            opening = OPEN_BIAS**0.5 if self.multiply else OPEN_BIAS / 2
            for layer in (last_channel, last_spatial):
                open_up(layer, opening)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (1, 2)."""
        channel = broadcast_channels(self.channel(x.flatten(2).mean(dim=2)), x)
        spatial = self.spatial(x)
        logits = channel * spatial if self.multiply else channel + spatial
        weights = 1 + torch.sigmoid(logits).to(x.dtype)
        return Attended(x * weights, weights)
