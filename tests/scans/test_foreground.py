"""The box around the voxels of a mask."""

import numpy as np

from attention_unet.scans.foreground import bounding_box


def test_a_box_holds_all_true_voxels_and_a_margin():
    mask = np.zeros((9, 8, 7), bool)
    mask[3, 2, 6] = mask[5, 4, 1] = True
    assert bounding_box(mask) == (slice(3, 6), slice(2, 5), slice(1, 7))
    assert bounding_box(mask, 1) == (slice(2, 7), slice(1, 6), slice(0, 8))
    assert bounding_box(mask, [0, 3, 2]) == (slice(3, 6), slice(0, 8), slice(0, 9))


def test_a_box_of_no_voxel_is_empty():
    for margin in (0, 2):
        assert not np.zeros((4, 4, 4))[bounding_box(np.zeros((4, 4, 4), bool), margin)].size
