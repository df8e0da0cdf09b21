"""Zeros around a masked scan are kept out of its values."""

import numpy as np
import pytest

from attention_unet.preparation.preprocessing import Preprocessing, preprocess
from attention_unet.scans.volumes import read_volume
from tests.conftest import save_nifti


@pytest.mark.parametrize(("mm", "first", "stop"), [(1.5, 8, 26), (2.5, 8, 28), (3.5, 11, 25)])
def test_voxels_of_which_half_is_masked_are_kept_on_both_sides(tmp_path, mm, first, stop):
    """The edges of the mask are in the middle of voxels of the network's grid."""
    masked = np.zeros((36, 36, 36), dtype=np.float32)
    masked[first:stop, first:stop, first:stop] = np.random.RandomState(0).uniform(300, 310, [stop - first] * 3)
    prepared = preprocess(read_volume(save_nifti(tmp_path / "a.nii.gz", masked)), Preprocessing((mm, mm, mm), True))
    inside = prepared.image[0].numpy() != 0
    voxels = round((stop - first) / mm) + 1
    assert prepared.scan_grid.start == (round((first - 0.5) / mm),) * 3
    assert inside.shape == (voxels, voxels, voxels)
    middle = voxels // 2
    for line in (inside[:, middle, middle], inside[middle, :, middle], inside[middle, middle]):
        assert line.all()


@pytest.mark.parametrize("spacing", [(0.8, 0.7, 0.9), (1.3, 1.6, 1.2), (0.5, 2.0, 1.5)], ids=str)
def test_no_rim_between_a_masked_scan_and_the_zeros_around_it(tmp_path, spacing):
    masked = np.zeros((20, 21, 22), dtype=np.float32)
    masked[4:15, 5:16, 3:17] = np.random.RandomState(0).uniform(300, 310, (11, 11, 14))
    masked[5, 6, 7] = 0  # a hole
    image = preprocess(read_volume(save_nifti(tmp_path / "a.nii.gz", masked)), Preprocessing(spacing, True)).image[0]
    assert image.abs().max() < 5  # standard deviations
    assert float((image != 0).sum() * np.prod(spacing)) == pytest.approx((masked != 0).sum(), rel=0.1)
