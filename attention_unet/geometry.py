"""From one grid to another, by the affines alone: exact where voxels coincide, linear where they do not."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

EXACT = 1e-3  # voxels; below it two grids are taken to coincide
PLANES_AT_ONCE = 32


def regrid(
    values: Tensor,
    affine: NDArray[np.float64],
    to_affine: NDArray[np.float64],
    to_grid: tuple[int, int, int],
    outside: Tensor,
) -> Tensor:
    """Values on another grid.

    Args:
        values: (K, I, J, K) float32 on the grid of ``affine``.
        affine: 4 x 4, from voxels of the values' grid to millimetres.
        to_affine: 4 x 4, of the wanted grid.
        to_grid: voxels of the wanted grid.
        outside: (K,), the values of voxels that lie beyond the first grid.

    Returns:
        (K, *to_grid) float32.
    """
    mapping = np.linalg.inv(affine) @ to_affine  # from voxels of the wanted grid to voxels of the values' grid
    whole = np.round(mapping)
    edges = np.array(to_grid)
    drift = np.abs(mapping - whole) @ np.append(edges, 1)
    if drift[:3].max() < EXACT and (np.abs(whole[:3, :3]).sum(axis=0) == 1).all():
        return _copy(values, whole.astype(int), to_grid, outside)
    return _interpolate(values, mapping, to_grid, outside)


def _copy(values: Tensor, mapping: NDArray[np.int64], to_grid: tuple[int, int, int], outside: Tensor) -> Tensor:
    """The grids differ by order, direction and bounds of their axes only."""
    source_axis = [int(np.abs(mapping[:3, axis]).argmax()) for axis in range(3)]
    result = outside.view(-1, 1, 1, 1).expand(-1, *to_grid).clone()
    read: list[slice] = [slice(None)] * 3
    write: list[slice] = [slice(None)] * 3
    flipped = []
    for axis, source in enumerate(source_axis):
        sign, offset, n = int(mapping[source, axis]), int(mapping[source, 3]), values.shape[1 + source]
        # wanted voxel v reads voxel sign * v + offset, if that lies within 0 and n
        low, high = (-offset, n - offset) if sign > 0 else (offset - n + 1, offset + 1)
        low, high = max(low, 0), min(high, to_grid[axis])
        if low >= high:
            return result
        first, last = sorted((sign * low + offset, sign * (high - 1) + offset))
        read[source], write[axis] = slice(first, last + 1), slice(low, high)
        if sign < 0:
            flipped.append(1 + axis)
    part = values[:, read[0], read[1], read[2]].permute(0, *(1 + source for source in source_axis))
    result[:, write[0], write[1], write[2]] = part.flip(flipped)
    return result


def _interpolate(
    values: Tensor, mapping: NDArray[np.float64], to_grid: tuple[int, int, int], outside: Tensor
) -> Tensor:
    """Linear, a slab of planes at a time. A voxel is outside if its centre is in no voxel of the first grid."""
    n = torch.tensor(values.shape[1:], dtype=torch.float64)
    matrix = torch.from_numpy(mapping)
    result = torch.empty((len(values), *to_grid))
    in_plane = torch.meshgrid(*(torch.arange(edge, dtype=torch.float64) for edge in to_grid[1:]), indexing="ij")
    for first in range(0, to_grid[0], PLANES_AT_ONCE):
        planes = torch.arange(first, min(first + PLANES_AT_ONCE, to_grid[0]), dtype=torch.float64)
        position = matrix[:3, 3] + planes[:, None, None, None] * matrix[:3, 0]
        for axis, index in enumerate(in_plane, start=1):
            position = position + index[None, ..., None] * matrix[:3, axis]
        inside = ((position > -0.5) & (position < n - 0.5)).all(dim=-1)
        # grid_sample counts edges of voxels from -1 to 1 and names axes from the last to the first
        sample = (2 * position + 1) / n - 1
        slab = F.grid_sample(
            values[None].float(),
            sample.flip(-1)[None].float(),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )[0]
        result[:, first : first + len(planes)] = torch.where(inside, slab, outside.view(-1, 1, 1, 1))
    return result
