"""Slow surface metrics: every surface voxel against every other."""

import itertools

import numpy as np


def surface_voxels(mask):
    found = []
    for voxel in np.argwhere(mask):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = voxel.copy()
            neighbour[axis] += step
            outside = (neighbour < 0).any() or (neighbour >= mask.shape).any()
            if outside or not mask[tuple(neighbour)]:
                found.append(voxel)
                break
    return np.array(found)


def distances(start, end, spacing_mm):
    a, b = surface_voxels(start) * np.array(spacing_mm), surface_voxels(end) * np.array(spacing_mm)
    return np.array([min(np.linalg.norm(p - q) for q in b) for p in a])
