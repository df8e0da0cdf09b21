"""Choose the voxels of a training patch along each axis."""

import numpy as np

from attention_unet.errors import ConfigError
from attention_unet.preparation.levels import SMALLEST_EDGE

ROUNDED_UP = 1.2  # voxels that a rounded patch may have, as a multiple of those that were chosen


def choose_slice_axis(patch: list[int] | None, grid: np.ndarray, spacing: np.ndarray) -> int:
    """Choose the axis across the slices of a 2-D network.

    It is the axis with 1 voxel in a configured patch. Without a patch, it is an axis along which cases have 1 voxel or,
    if there is none, the axis with the largest voxels. The last of equal axes is chosen, which gives axial slices.
    Raise ConfigError if a configured patch does not have 1 voxel along exactly one axis.
    """
    if patch is None:
        return 2 - int(np.where(grid < 1.5, np.inf, spacing)[::-1].argmax())
    if patch.count(1) != 1:
        raise ConfigError(f"data.patch is {patch}: expected exactly one 1 for a 2-D network, across its slices")
    return patch.index(1)


def round_patch(size: np.ndarray, divisor: np.ndarray, all_seen: np.ndarray, voxels: int) -> np.ndarray:
    """Round a patch to multiples of ``divisor``: up where it sees all of a typical case, otherwise to the nearest one.

    If it then has too many voxels, axes that were rounded up most are rounded down.
    """
    parts = size / divisor
    rounded = np.where(all_seen, np.ceil(parts), np.maximum(np.floor(parts + 0.5), 1))
    while np.prod(rounded * divisor) > ROUNDED_UP * voxels:
        excess = np.where(all_seen | (rounded == 1), 0, rounded / parts)
        if excess.max() <= 1:
            break
        rounded[excess.argmax()] -= 1
    return (rounded * divisor).astype(int)


def fit_patch(grid: np.ndarray, spacing: np.ndarray, in_plane: np.ndarray, voxels: int) -> list[int]:
    """Return the largest patch of about equal edges in mm, within a typical case and at most ``voxels`` voxels."""
    low, high = 0.0, float((grid * spacing).max())
    for _ in range(40):
        edge_mm = (low + high) / 2
        size = np.minimum(grid, edge_mm / spacing)
        low, high = (edge_mm, high) if np.prod(size[in_plane]) <= voxels else (low, edge_mm)
    edges = [max(int(np.round(s)), 1) for s in np.minimum(grid, high / spacing)]
    return [SMALLEST_EDGE if edge == 2 else edge for edge in edges]  # because of oneDNN, see plan_levels
