"""Reference of attention between voxels, query by query and key by key."""

import math

import numpy as np

from tests.reference.dense import sample, softmax, voxels_of


def gather(query, key, value, scaled):
    """Return gathered values (e, *S) and attention per key. query: (d, *S); key: (d, *Sk); value: (e, *Sk)."""
    grid, key_grid = query.shape[1:], key.shape[1:]
    keys = list(voxels_of(key_grid))
    gathered, received = np.zeros((len(value), *grid)), np.zeros(key_grid)
    for q in voxels_of(grid):
        products = [sum(query[(c, *q)] * key[(c, *k)] for c in range(len(query))) for k in keys]
        attention = softmax(np.array(products) / (math.sqrt(len(query)) if scaled else 1))
        for k, weight in zip(keys, attention, strict=True):
            gathered[(slice(None), *q)] += weight * value[(slice(None), *k)]
            received[k] += weight
    return gathered, received * len(keys) / math.prod(grid)


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
