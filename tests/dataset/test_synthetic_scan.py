"""Images that are synthesized from label maps."""

import numpy as np
import pytest
from scipy import ndimage

from attention_unet.dataset.synthetic_scan import FWHM, synthesize_image, synthesize_scan, thicken
from attention_unet.scans.volumes import volume_of_array

GRID = (40, 36, 30)


def blocks(number, seed=0):
    """Return regions of 10 x 9 x 10 voxels, from 0."""
    random = np.random.RandomState(seed)
    small = random.permutation(np.arange(4 * 4 * 3) % number).reshape(4, 4, 3)
    return np.kron(small, np.ones((10, 9, 10), dtype=np.uint8))[None].astype(np.uint8)


def draw(regions, seed=0, channels=1, nonzero=False, sliced=False):
    return synthesize_image(
        regions, np.bincount(regions.ravel()), channels, nonzero, sliced, np.random.RandomState(seed)
    )


def insides(regions):
    """Return the voxels of each region without its border."""
    return [ndimage.binary_erosion(regions[0] == r, iterations=3) for r in range(regions.max() + 1)]


def test_each_region_has_its_own_contrast_in_each_image_unless_it_looks_like_another():
    regions = blocks(4)
    means = np.array([[image[inside].mean() for inside in insides(regions)] for image in draw(regions, channels=300)])
    alike = abs(means[:, 1] - means[:, 2]) < 0.05
    # Each looks like the other, or like the same third region, or they are alike by chance.
    assert 0.1 < alike.mean() < 0.3
    assert (abs(means[:, :1] - means[:, 1:]) < 0.02).mean() < 0.05
    assert abs(np.corrcoef(means.T) - np.eye(4))[1:, 1:].max() < 0.65  # z-scored: they sum to nearly 0
    order = np.argsort(means[:, 1:], axis=1)
    assert all((order == each).all(axis=1).mean() > 0.1 for each in ([0, 1, 2], [2, 1, 0], [1, 2, 0]))


def test_images_are_normalised_as_whole_cases_are():
    regions = blocks(5)
    images = draw(regions, channels=60)
    assert abs(images.mean(axis=(1, 2, 3))).max() < 0.05
    sds = images.std(axis=(1, 2, 3))
    assert sds.max() < 1.02  # blur takes a little
    assert np.median(sds) > 0.85


def test_air_is_dark_or_zero():
    regions = blocks(4)
    air = insides(regions)[0]
    others = ~ndimage.binary_dilation(regions[0] == 0, iterations=3)
    dark = [image[air].mean() < np.median(image[others]) for image in draw(regions, channels=60)]
    assert np.mean(dark) > 0.9
    for image in draw(regions, channels=5, nonzero=True):
        assert abs(image[air]).max() < 0.01
        inside = np.concatenate([image[each] for each in insides(regions)[1:]])
        assert abs(inside.mean()) < 0.4


def test_the_same_numbers_draw_the_same_image():
    regions = blocks(4)
    assert np.array_equal(draw(regions, 3, sliced=True), draw(regions, 3, sliced=True))
    assert not np.allclose(draw(regions, 3), draw(regions, 4))


def test_thick_slices_are_means_across_one_axis():
    image = np.random.RandomState(0).normal(size=GRID).astype(np.float32)
    for axis in range(3):
        found = np.moveaxis(thicken(image, axis, 5.0), axis, 0)
        smooth = np.moveaxis(ndimage.gaussian_filter1d(image, 5.0 / FWHM, axis=axis), axis, 0)
        slices = round(GRID[axis] / 5)
        middles = (np.arange(slices) + 0.5) * GRID[axis] / slices - 0.5
        i, j = 7, 11
        planes = np.interp(middles, np.arange(GRID[axis]), smooth[:, i, j])
        expected = np.interp(np.arange(GRID[axis]), middles, planes)
        np.testing.assert_allclose(found[:, i, j], expected, atol=1e-5)


@pytest.mark.parametrize("integers", [4, 300])
def test_a_scan_of_a_label_map(integers):
    random = np.random.RandomState(0)
    label = np.kron(random.randint(0, integers, size=(8, 8, 8)), np.ones((4, 4, 4))).astype(np.int32)
    volume = volume_of_array(label.astype(np.float32), np.diag([1.0, 2.0, 3.0, 1.0]))
    scan = synthesize_scan(volume, "a")
    assert scan.array.shape == (1, 32, 32, 32)
    assert scan.array.dtype == np.float32
    assert np.array_equal(scan.affine, volume.affine)
    assert np.array_equal(synthesize_scan(volume, "a").array, scan.array)
    assert not np.allclose(synthesize_scan(volume, "b").array, scan.array)
    middle = np.kron(np.ones((8, 8, 8)), np.pad(np.ones((2, 2, 2)), 1)) > 0
    between = np.var([scan.array[0][(label == value) & middle].mean() for value in np.unique(label)])
    within = np.mean([scan.array[0][(label == value) & middle].var() for value in np.unique(label)])
    assert between > 2 * within
