"""Measure the distances in mm between the surfaces of two masks.

A surface is the set of the voxels of a mask that share a face with the outside; beyond the array is outside. In a
single slice it is the contour: along an axis with one voxel there is no outside. Nor is there where nobody annotated.
Distances are measured between the centres of surface voxels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]


def surface_distances(
    prediction: Mask, reference: Mask, spacing_mm: NDArray[np.float64], known: Mask | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances in mm from each surface voxel of the prediction to the surface of the reference, and back.

    The array of an empty surface is empty; the distances to an empty surface are infinite. ``known`` are the annotated
    voxels, None for all.
    """
    predicted, true = find_surface(prediction, known), find_surface(reference, known)
    return _distances(predicted, true, spacing_mm), _distances(true, predicted, spacing_mm)


def find_surface(mask: Mask, known: Mask | None = None) -> Mask:
    """Return the voxels of a mask (I, J, K) that share a face with its outside, as far as it is known."""
    filled = mask if known is None else mask | ~known
    inner = mask.copy()
    long = [axis for axis, voxels in enumerate(mask.shape) if voxels > 1]
    for axis in long or range(mask.ndim):
        planes, inner_planes = np.moveaxis(filled, axis, 0), np.moveaxis(inner, axis, 0)
        inner_planes[1:] &= planes[:-1]
        inner_planes[:-1] &= planes[1:]
        inner_planes[:1] = inner_planes[-1:] = False
    return mask & ~inner


def _distances(start: Mask, end: Mask, spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance from each voxel of one surface to the nearest voxel of another, by a k-d tree."""
    distances = np.zeros(np.count_nonzero(start))
    if not end.any():
        return np.full_like(distances, np.inf)
    apart = ~end[start]  # voxels on both surfaces have the distance 0
    tree = KDTree(np.argwhere(end) * spacing_mm)
    distances[apart], _ = tree.query(np.argwhere(start)[apart] * spacing_mm)
    return distances
