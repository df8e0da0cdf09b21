"""Reference of deformable attention, voxel by voxel."""

import numpy as np

from tests.reference.dense import sample, softmax, voxels_of


def gather_deformable(value, offset, logit, heads, points):
    """Gather value (C, *S). offset: (heads * points * dims, *S), voxels; logit: (heads * points, *S)."""
    grid = value.shape[1:]
    width, gathered = len(value) // heads, np.zeros_like(value)
    offset = offset.reshape(heads, points, len(grid), *grid)
    logit = logit.reshape(heads, points, *grid)
    for voxel in voxels_of(grid):
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            share = softmax(logit[(h, slice(None), *voxel)])
            for k in range(points):
                position = np.array(voxel) + offset[(h, k, slice(None), *voxel)]
                gathered[(own, *voxel)] += share[k] * sample(value[own], position)
    return gathered
