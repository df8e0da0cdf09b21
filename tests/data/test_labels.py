import json

import numpy as np

from attention_unet.data.labels import Labels

EXCLUSIVE = Labels({"a": (1,), "b": (5,)}, (1, 5))
REGIONS = Labels({"whole": (1, 2, 3), "core": (2, 3), "active": (3,)}, (1, 2, 3))


def test_exclusive_labels_become_indices_and_come_back():
    label_map = np.array([[0, 5], [1, 5]])
    assert not EXCLUSIVE.overlapping
    assert EXCLUSIVE.channels == 3
    np.testing.assert_array_equal(EXCLUSIVE.encode(label_map), [[[0, 2], [1, 2]]])
    decoded = EXCLUSIVE.decode(EXCLUSIVE.encode(label_map))
    np.testing.assert_array_equal(decoded, label_map)
    assert decoded.dtype == np.uint8


def test_regions_become_a_mask_each_and_come_back():
    label_map = np.array([0, 1, 2, 3])
    assert REGIONS.overlapping
    assert REGIONS.channels == 3
    np.testing.assert_array_equal(REGIONS.encode(label_map), [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    np.testing.assert_array_equal(REGIONS.decode(REGIONS.encode(label_map)), label_map)


def test_large_integers_get_a_type_that_holds_them():
    labels = Labels({"a": (1000,)}, (1000,))
    decoded = labels.decode(labels.encode(np.array([0, 1000])))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, [0, 1000])


def test_unknown_integers():
    assert EXCLUSIVE.unknown(np.array([0, 1, 2, 7])) == [2, 7]


def test_json_round_trip():
    assert Labels.from_json(json.loads(json.dumps(REGIONS.to_json()))) == REGIONS
