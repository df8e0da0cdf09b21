"""Distances in mm between the surfaces of two masks.

A surface is made of the voxels of a mask that touch its outside by a face; beyond the array is outside. Distances run
between centres of surface voxels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]


def surface_distances(
    prediction: Mask, reference: Mask, spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in mm from each surface voxel of the prediction to the reference's surface, and the other way round.

    Both are empty arrays if both masks are empty; if one is empty, so is its array, and the other holds infinities.

    Args:
        prediction: mask (I, J, K).
        reference: mask of the same grid.
        spacing_mm: size of a voxel along each axis.
    """
    ours, theirs = surface(prediction), surface(reference)
    return _distances(ours, theirs, spacing_mm), _distances(theirs, ours, spacing_mm)


def surface(mask: Mask) -> Mask:
    """Voxels of a mask (I, J, K) that touch its outside by a face."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        along, own = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        own[1:] &= along[:-1]
        own[:-1] &= along[1:]
        own[:1] = own[-1:] = False
    found: Mask = mask & ~inner
    return found


def _distances(start: Mask, end: Mask, spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each voxel of a surface the distance to the next one of another, by a tree of the other's voxels."""
    found = np.zeros(np.count_nonzero(start))
    if not end.any():
        return np.full_like(found, np.inf)
    apart = ~end[start]  # the others lie on it
    tree = KDTree(np.argwhere(end) * spacing_mm)
    found[apart], _ = tree.query(np.argwhere(start)[apart] * spacing_mm)
    return found
