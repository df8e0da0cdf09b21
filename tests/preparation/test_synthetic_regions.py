import numpy as np
import pytest

from attention_unet.preparation.synthetic_regions import CLUSTERS, find_regions
from attention_unet.scans.labels import IGNORED, Labels

LABELS = Labels({"a": (1,), "b": (2,)}, (1, 2))
GRID = (20, 20, 20)


def case(tissues=CLUSTERS):
    """Return an image of flat tissues with a little noise, air on one side, and two classes."""
    random = np.random.RandomState(0)
    tissue = np.repeat(np.arange(20) % tissues, 400).reshape(GRID)
    image = tissue + random.normal(scale=0.02, size=GRID)
    image[:, :4] = -3
    target = np.zeros((1, *GRID), dtype=np.uint8)
    target[0, 5:8, 6:9, 5:9], target[0, 12:15, 10:15, 10:15] = 1, 2
    return image[None].astype(np.float32), target, np.array([-3.0], dtype=np.float32), tissue


def test_classes_tissues_and_air_are_regions():
    image, target, background, tissue = case()
    regions = find_regions(image, target, background, LABELS)[0]
    assert regions.dtype == np.uint8
    assert (regions[:, :4] == 0).all()
    for index in (1, 2):
        np.testing.assert_array_equal(regions == index, target[0] == index)
    other = (target[0] == 0) & (image[0] != -3)
    clusters = {value: set(regions[other & (tissue == value)]) for value in range(CLUSTERS)}
    assert all(len(found) == 1 for found in clusters.values())
    assert sorted(value for found in clusters.values() for value in found) == list(range(3, 3 + CLUSTERS))


def test_an_organ_does_not_end_where_its_annotation_does():
    image, target, background, _ = case()
    expected = find_regions(image, target * 0, background, LABELS)
    target[0, :, :, 15:] = IGNORED
    np.testing.assert_array_equal(find_regions(image, target, background, LABELS), expected)


def test_classes_of_a_drawn_image_are_regions_although_voxels_are_ignored():
    image, target, background, _ = case()
    target[0, :, :, 15:] = IGNORED
    regions = find_regions(image, target, background, LABELS, synthetic=True)
    for index in (1, 2):
        np.testing.assert_array_equal(regions == index, target == index)
    assert set(np.unique(regions)) == {0, 1, 2, 3}


def test_the_last_of_overlapping_classes_counts():
    image, _, background, _ = case()
    masks = np.zeros((2, *GRID), dtype=np.uint8)
    masks[0, 4:12, 6:14, 4:12], masks[1, 6:9, 8:11, 6:9] = 1, 1
    regions = find_regions(image, masks, background, Labels({"whole": (1, 2), "core": (2,)}, (1, 2)))[0]
    np.testing.assert_array_equal(regions == 2, masks[1] == 1)
    np.testing.assert_array_equal(regions == 1, (masks[0] == 1) & (masks[1] == 0))


@pytest.mark.parametrize("values", [0.0, 5.0])
def test_a_flat_image_has_one_cluster(values):
    image, target = np.full((1, *GRID), values, np.float32), np.zeros((1, *GRID), np.uint8)
    regions = find_regions(image, target, np.array([-3.0], np.float32), LABELS)
    assert np.unique(regions).tolist() == [3]
    assert find_regions(image, target, np.array([values], np.float32), LABELS).max() == 0
