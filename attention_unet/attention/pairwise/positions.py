"""Encodings that tell attention between voxels where they are."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from attention_unet.layers.dimensions import interpolate_to

Positions = Literal["none", "sine", "learned"]

EDGE = 8  # voxels of each axis of the learned grid
WAVES = 8  # of different length along an axis


class PositionEncoding(nn.Module):
    """Add an encoding of the position to the features, (B, C, *S).

    "sine" adds waves along each axis of 1/2, 1, 2, 4, ... 64 periods over the grid, as many as C allows; more channels
    get the same again (after Vaswani et al., 2017). "learned" adds a learned grid of 8 voxels per axis, resampled
    linearly. Both are relative to the grid, so that any size works. "none" adds nothing.
    """

    def __init__(self, dims: int, channels: int, kind: Positions) -> None:
        super().__init__()
        self.kind, self.channels = kind, channels
        self.learned = None
        if kind == "learned":
            self.learned = nn.Parameter(0.02 * torch.randn(1, channels, *(EDGE,) * dims))

    def forward(self, x: Tensor) -> Tensor:
        """Add the encoding to ``x`` (B, C, *S)."""
        if self.learned is not None:
            return x + interpolate_to(self.learned, x.shape[2:]).to(x.dtype)
        return x + self.waves(x) if self.kind == "sine" else x

    def waves(self, x: Tensor) -> Tensor:
        """Return sines and cosines of the position, (C, *S): channel by channel the axes in turn."""
        dims = x.dim() - 2
        waves = []
        for channel in range(self.channels):
            axis, number = channel % dims, channel // dims
            n = x.shape[2 + axis]
            position = (torch.arange(n, device=x.device, dtype=torch.float32) + 0.5) / n
            angle = math.pi * 2 ** (number // 2 % WAVES) * position
            wave = torch.sin(angle) if number % 2 == 0 else torch.cos(angle)
            waves.append(wave.reshape([n if a == axis else 1 for a in range(dims)]).expand(x.shape[2:]))
        return torch.stack(waves).to(x.dtype)
