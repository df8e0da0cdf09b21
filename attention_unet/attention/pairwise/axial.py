"""Axial attention: every voxel attends to the voxels of its line along one axis after another."""

import math

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.attention.pairwise.positions import PositionEncoding, Positions
from attention_unet.attention.pairwise.scaled_dot_product import attend, tokens
from attention_unet.layers.dimensions import CONV


class AxialAttention(Gathering):
    """Axial attention (Ho et al., "Axial Attention in Multidimensional Transformers", 2019, arXiv:1912.12180)::

        x <- x + W_a (V A^T),  A = softmax_line(Q^T K / sqrt(C / heads)),  for each axis a in turn

    with keys on the line through the voxel along a. After all axes every voxel has reached every other. All W start at
    0: the exact identity.

    Args:
        heads: groups of channels that attend separately; if they do not divide C, the greatest common divisor of both.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
    """

    def __init__(self, place: Place, *, heads: int = 4, positions: Positions = "none") -> None:
        super().__init__()
        self.heads = math.gcd(place.channels, heads)
        self.positions = PositionEncoding(place.dims, place.channels, positions)
        axes = range(place.dims)
        self.query, self.key, self.value, self.project = (
            nn.ModuleList(CONV[place.dims](place.channels, place.channels, kernel_size=1) for _ in axes)
            for _ in range(4)
        )
        for layer in self.project:
            start_at_zero(layer)  # type: ignore[arg-type]  # a convolution

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the mean received map of the axes, (B, 1, *S)."""
        received: list[Tensor] = []
        for i in range(x.dim() - 2):
            placed = self.positions(x)
            query, key = self.lines(self.query[i](placed), 2 + i), self.lines(self.key[i](placed), 2 + i)
            value = self.lines(self.value[i](x), 2 + i)
            scale = query.shape[3] ** -0.5
            if with_map:
                with torch.no_grad():
                    shares = torch.softmax(query @ key.transpose(2, 3) * scale, dim=3)
                    received.append(self.whole(shares.mean(dim=1, keepdim=True).sum(dim=2)[..., None], x, 2 + i))
            x = (x + self.project[i](self.whole(attend(query, key, value, scale), x, 2 + i))).to(x.dtype)
        return Attended(x, torch.stack(received).mean(dim=0).to(x.dtype) if with_map else None)

    def lines(self, values: Tensor, axis: int) -> Tensor:
        """Return (B, C, *S) as lines along an axis, (B * lines, heads, n, C / heads)."""
        lines = values.movedim(axis, 2).flatten(3).permute(0, 3, 1, 2).flatten(0, 1)  # B * lines, C, n
        return tokens(lines, self.heads)

    def whole(self, lines: Tensor, like: Tensor, axis: int) -> Tensor:
        """Put lines (B * lines, heads, n, C / heads) along an axis back on the grid of ``like``, (B, C, *S)."""
        others = [n for a, n in enumerate(like.shape[2:], start=2) if a != axis]
        values = lines.transpose(1, 2).flatten(2)
        values = values.reshape(len(like), *others, *values.shape[1:])  # B, others, n, C
        return values.movedim(-1, 1).movedim(-1, axis)
