import json

import numpy as np
import pytest
import torch

from attention_unet.scans.labels import Labels, assign_classes, mask_of

EXCLUSIVE = Labels({"a": (1,), "b": (5,)}, (1, 5))
REGIONS = Labels({"whole": (1, 2, 3), "core": (2, 3), "active": (3,)}, (1, 2, 3))


def test_exclusive_classes_are_written_as_their_integers():
    assert not EXCLUSIVE.overlapping
    assert EXCLUSIVE.channels == 3
    decoded = EXCLUSIVE.decode(np.array([[[0, 2], [1, 2]]]))
    np.testing.assert_array_equal(decoded, [[0, 5], [1, 5]])
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(EXCLUSIVE.index(decoded), [[0, 2], [1, 2]])


def test_regions_are_painted_in_order():
    assert REGIONS.overlapping
    assert REGIONS.channels == 3
    masks = np.array([[0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(REGIONS.decode(masks), [0, 1, 2, 3, 3])


def test_large_integers_get_a_type_that_holds_them():
    decoded = Labels({"a": (1000,)}, (1000,)).decode(np.array([[0, 1]]))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, [0, 1000])
    decoded = Labels({"a": (70_000,)}, (70_000,)).decode(np.array([[0, 1]]))
    assert decoded.dtype == np.uint32
    np.testing.assert_array_equal(decoded, [0, 70_000])


@pytest.mark.parametrize(
    "plain",
    [
        {"integers": {}, "painted": []},
        {"integers": {"a": [1]}, "painted": []},
        {"integers": {"a": [-1]}, "painted": [1]},
        {"integers": {"a": []}, "painted": [1]},
        {"integers": {"a": ["x"]}, "painted": [1]},
    ],
)
def test_plain_values_that_are_no_classes(plain):
    with pytest.raises(ValueError, match=r"."):
        Labels.from_json(plain)


def test_classes_in_another_order_are_other_classes():
    assert Labels({"core": (2, 3), "whole": (1, 2, 3)}, (1, 2)) != Labels({"whole": (1, 2, 3), "core": (2, 3)}, (1, 2))
    assert Labels({"a": (1,), "b": (5,)}, (1, 5)) == EXCLUSIVE
    assert Labels({"a": (1,), "b": (5,)}, (5, 1)) != EXCLUSIVE


def test_unknown_integers():
    assert EXCLUSIVE.unknown(np.array([0, 1, 2, 7])) == [2, 7]


def test_json_round_trip():
    assert Labels.from_json(json.loads(json.dumps(REGIONS.to_json()))) == REGIONS


def test_a_voxel_goes_to_background_unless_a_class_has_more_of_it():
    shares = torch.tensor([[0.4, 0.5, 0.3, 0.2], [0.3, 0.1, 0.3, 0.1]])[:, :, None, None]
    assert assign_classes(shares, EXCLUSIVE).flatten().tolist() == [1, 1, 0, 0]
    assert assign_classes(shares + 0.25, Labels({"a": (1, 2), "b": (2,)}, (1, 2)))[0].flatten().tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("count", [0, 1, 3, 20, 100])
def test_the_mask_of_integers_is_that_of_a_slow_loop(count):
    label_map = np.random.default_rng(0).integers(0, 120, (4, 5, 6)).astype(np.uint8)
    integers = range(1, count + 1)
    expected = [voxel in set(integers) for voxel in label_map.ravel().tolist()]
    np.testing.assert_array_equal(mask_of(label_map, integers).ravel(), expected)


def test_an_overlapping_class_gets_no_voxel_that_it_fills_by_half():
    overlapping = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))
    assert assign_classes([torch.tensor([0.5, 0.51]), torch.tensor([0.5, 0.49])], overlapping).tolist() == [
        [0, 1],
        [0, 0],
    ]
