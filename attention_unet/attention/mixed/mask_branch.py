"""Mask branch: weights for every channel and voxel from a small hourglass network with a wide view."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, apply_weights
from attention_unet.layers.dimensions import CONV, MAX_POOL, interpolate_to
from attention_unet.layers.normalization import EightChannelNorm


class BottleneckUnit(nn.Module):
    """Pre-activation residual unit (He et al., ECCV 2016): kernels 1, 3, 1, with a quarter of the channels inside."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        inner = max(channels // 4, 1)
        self.body = nn.Sequential(
            *[EightChannelNorm(channels), nn.ReLU(), CONV[dims](channels, inner, kernel_size=1, bias=False)],
            *[EightChannelNorm(inner), nn.ReLU(), CONV[dims](inner, inner, kernel_size=3, padding=1, bias=False)],
            *[EightChannelNorm(inner), nn.ReLU(), CONV[dims](inner, channels, kernel_size=1, bias=False)],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        return x + self.body(x)


class MaskBranch(Attention):
    """Soft mask branch (Wang et al., "Residual Attention Network for Image Classification", CVPR 2017)::

        M = sigmoid(W2 relu(W1 hourglass(x))),  y = M * x

    The hourglass pools twice, applies a residual unit on both grids, adds the coarse result to the fine one, and
    interpolates back. Normalisation is in groups of eight channels. The paper's attention module is ``residual`` around
    this, y = (1 + M) * x; the U-Net takes the part of its trunk.
    """

    kind: str = "mixed"

    def __init__(self, place: Place) -> None:
        super().__init__()
        dims, channels = place.dims, place.channels
        self.pool = MAX_POOL[dims](kernel_size=3, stride=2, padding=1)
        self.fine = BottleneckUnit(dims, channels)
        self.coarse = BottleneckUnit(dims, channels)
        self.project = nn.Sequential(
            *[EightChannelNorm(channels), nn.ReLU(), CONV[dims](channels, channels, kernel_size=1, bias=False)],
            *[EightChannelNorm(channels), nn.ReLU(), CONV[dims](channels, channels, kernel_size=1)],
        )

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0, 1)."""
        fine = self.fine(self.pool(x))
        coarse = self.coarse(self.pool(fine))
        joined = fine + interpolate_to(coarse, fine.shape[2:])
        return apply_weights(x, torch.sigmoid(self.project(interpolate_to(joined, x.shape[2:]))))
