"""Reference of boxes. Positions run from -1 to 1 between the outer faces of a grid."""

import numpy as np

from tests.reference.dense import sample, voxels_of


def cut_out(x, centre, extent, size):
    """Sample x (C, *S) at each voxel of the box."""
    box = np.zeros((len(x), *size))
    grid = np.array(x.shape[1:])
    for voxel in voxels_of(size):
        inside_box = (np.array(voxel) + 0.5) * 2 / np.array(size) - 1
        in_grid = centre + extent * inside_box
        box[(slice(None), *voxel)] = sample(x, (in_grid + 1) * grid / 2 - 0.5)
    return box


def put_back(box, centre, extent, size):
    """Sample the box (C, *Sb) at each voxel of a grid; 0 outside."""
    x = np.zeros((len(box), *size))
    grid = np.array(box.shape[1:])
    for voxel in voxels_of(size):
        in_grid = (np.array(voxel) + 0.5) * 2 / np.array(size) - 1
        inside_box = (in_grid - centre) / extent
        x[(slice(None), *voxel)] = sample(box, (inside_box + 1) * grid / 2 - 0.5)
    return x
