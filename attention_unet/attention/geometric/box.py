"""Differentiable sampling of boxes in 2-D and 3-D: cut a box out at any size, and put it back.

Centres and extents (B, dims) are in the order of the axes, in units of half the grid. The grid spans -1 to 1 on every
axis, from the outer face of its first voxel to that of its last. The whole grid has centre 0 and extent 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cut_out(x: Tensor, centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    """Sample a box of each case of ``x`` (B, C, *S) linearly on a grid of ``size``; 0 outside the grid of x."""
    # Mixed precision leaves sums and products alone; it would round a matrix product to the 8 bits of bfloat16.
    dtype = torch.promote_types(x.dtype, torch.float32)
    coordinates = []
    for axis, n in enumerate(size):
        position = centre[:, axis, None].to(dtype) + extent[:, axis, None].to(dtype) * _positions(n, x.device, dtype)
        position = position.reshape(len(x), *(n if a == axis else 1 for a in range(len(size))))
        coordinates.append(position.expand(-1, *size))
    grid = torch.stack(coordinates[::-1], dim=-1)  # grid_sample expects the last axis first
    return F.grid_sample(x.to(dtype), grid, align_corners=False).to(x.dtype)


def put_back(box: Tensor, centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    """Sample a cut box (B, C, *Sb) at its position on a grid of ``size``; 0 outside it. Inverse of ``cut_out``."""
    return cut_out(box, -centre / extent, 1 / extent, size)


def squared_distance(centre: Tensor, extent: Tensor, size: Sequence[int]) -> Tensor:
    """Return the squared distance (B, *size) of every voxel from a centre, in units of the extent along each axis."""
    squared = torch.zeros((), device=centre.device, dtype=centre.dtype)
    for axis, n in enumerate(size):
        along = ((_positions(n, centre.device, centre.dtype) - centre[:, axis, None]) / extent[:, axis, None]).square()
        squared = squared[..., None] + along.reshape(len(centre), *[1] * axis, n)
    return squared


def _positions(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the centres of ``n`` voxels, with -1 and 1 at the outer faces."""
    return (torch.arange(n, device=device, dtype=dtype) + 0.5) * 2 / n - 1
