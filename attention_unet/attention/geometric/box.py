"""Boxes in a grid: cut one out at any size, and put it back where it was. For 2-D and 3-D, by differentiable sampling.

Centres and extents (B, dims) are in the order of the axes, in units of half the grid: the grid spans -1 to 1 on every
axis, from the outer face of its first voxel to that of its last, and the whole grid is centre 0, extent 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cut_out(x: Tensor, centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    """Sample a box of each case of ``x`` (B, C, *S), linearly, on a grid of ``size``; 0 outside the grid of x."""
    return _sample(x, centre, extent, size)


def put_back(box: Tensor, centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    """Inverse of ``cut_out``: what was cut, (B, C, *Sb), in its place on a grid of ``size``; 0 outside the box."""
    return _sample(box, -centre / extent, 1 / extent, size)


def squared_distance(centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    """Squared distance (B, *size) of every voxel of a grid from a centre, in units of the extent along each axis."""
    squared = torch.zeros((), device=centre.device, dtype=centre.dtype)
    for axis, n in enumerate(size):
        along = ((_positions(n, centre.device, centre.dtype) - centre[:, axis, None]) / extent[:, axis, None]).square()
        squared = squared[..., None] + along.reshape(len(centre), *[1] * axis, n)
    return squared


def _sample(x: Tensor, centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    # Positions by sums and products, which mixed precision leaves alone: a matrix product would place voxels by the
    # 8 bits of bfloat16.
    kind = torch.promote_types(x.dtype, torch.float32)
    along = []
    for axis, n in enumerate(size):
        position = centre[:, axis, None].to(kind) + extent[:, axis, None].to(kind) * _positions(n, x.device, kind)
        along.append(position.reshape(len(x), *(n if a == axis else 1 for a in range(len(size)))).expand(-1, *size))
    grid = torch.stack(along[::-1], dim=-1)  # torch wants the last axis first
    return F.grid_sample(x.to(kind), grid, align_corners=False).to(x.dtype)


def _positions(n: int, device: torch.device, kind: torch.dtype) -> Tensor:
    """Centres of ``n`` voxels, from -1 to 1 between the outer faces."""
    return (torch.arange(n, device=device, dtype=kind) + 0.5) * 2 / n - 1
