"""Small connected components: dropped where that does good on held-out cases, and nowhere else."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from attention_unet.errors import ConfigError
from attention_unet.inference.components import (
    ComponentGain,
    cleaned_classes,
    component_gains,
    drop_small,
    pool_gains,
)
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels
from tests.inference.build import model_of, scan

NAN = float("nan")
HELPS, HARMS = ComponentGain(4, 0.4, 0.05), ComponentGain(4, -0.4, 0.05)


def test_components_smaller_than_half_the_largest_are_dropped():
    label_map = np.zeros((9, 9, 9), dtype=np.uint8)
    label_map[0:3, 0:3, 0:3] = 1
    label_map[3, 3, 3] = 1  # shares a corner: 28 voxels
    label_map[7:9, 0:7, 7:8] = 1  # 14 voxels
    label_map[6:9, 8, 2:6], label_map[5, 8, 2] = 1, 1  # 13 voxels
    label_map[0, 8, 0], label_map[8, 0, 0:3] = 4, 4
    label_map[4, 4, 8] = 2
    expected = label_map.copy()
    expected[5:9, 8, 2:6] = 0
    np.testing.assert_array_equal(drop_small(label_map, [1, 2]), expected)
    expected[0, 8, 0] = 0
    np.testing.assert_array_equal(drop_small(label_map, [1, 2, 4, 9]), expected)
    assert label_map[6, 8, 2] == 1  # the input is not changed


def test_it_helps_where_dice_rises_by_more_than_its_standard_error():
    dice = {"a": [0.8, 0.8, 0.5, 0.7, NAN], "b": [0.7, 0.8, 0.5, 0.7, 0.5], "c": [0.6, 0.8, 0.5, 0.7, NAN]}
    cleaned = {"a": [0.82, 0.8, 0.4, 0.9, NAN], "b": [0.73, 0.8, 0.6, 0.6, 0.9], "c": [0.61, 0.8, 0.5, 0.7, NAN]}
    names = ["gains", "same", "loses", "unsure", "once"]
    gains = component_gains(dice, cleaned, names)
    assert [name for name in names if gains[name].helps] == ["gains"]
    assert not any(gain.helps for gain in component_gains({}, {}, ["none"]).values())
    assert ComponentGain.of([0.0, 0.3, 0.0, 0.0]).helps  # one case gains, none loses
    assert not ComponentGain.of([0.0, 0.3, 0.0, -0.01]).helps


def test_cases_of_several_trainings_are_pooled():
    gains = np.random.RandomState(0).normal(0.002, 0.01, 40)
    parts = pool_gains([{"a": ComponentGain.of(gains[:15])}, {}, {"a": ComponentGain.of(gains[15:])}])
    assert parts["a"].cases == 40
    expected = gains.mean() > statistics.stdev(gains) / math.sqrt(40)
    assert parts["a"].helps == ComponentGain.of(gains).helps == expected


@pytest.mark.parametrize(
    ("gains", "asked", "expected"),
    [
        ([{"bright": HELPS, "dark": HARMS}], None, ["bright"]),
        ([{"bright": HELPS}, {"bright": HARMS}], None, []),
        ([{}], None, []),
        ([{"bright": HELPS}], (), []),
        ([{}], ("dark",), ["dark"]),
    ],
)
def test_it_is_applied_by_default(gains, asked, expected):
    models = [replace(model_of(), component_gains=of) for of in gains]
    assert cleaned_classes(models, Settings(drop_small=asked)) == expected


def test_a_tiny_gain_is_not_worth_it():
    assert ComponentGain.of([0.0006, 0.0006]).helps
    assert not ComponentGain.of([0.0004, 0.0004]).helps


def test_no_piece_is_dropped_where_classes_overlap():
    """Dropped from a nested class, it would leave a hole in the class around it."""
    model = model_of()
    labels = Labels({"bright": (3, 9), "dark": (9,)}, (3, 9))
    nested = replace(model, plan=replace(model.plan, labels=labels))
    assert cleaned_classes([nested], Settings()) == []
    with pytest.raises(ConfigError, match="if classes overlap: leave drop_small empty"):
        cleaned_classes([nested], Settings(drop_small=("dark",)))


def test_a_prediction_loses_small_components_of_the_classes_it_helps(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4))
    as_it_is = predict_volume([model_of()], volume, Settings()).label_map
    model = replace(model_of(), component_gains={"bright": HELPS, "dark": HARMS})
    by_default = predict_volume([model], volume, Settings()).label_map
    np.testing.assert_array_equal(by_default, drop_small(as_it_is, [3]))
    assert (by_default != as_it_is).any()
    np.testing.assert_array_equal(predict_volume([model], volume, Settings(drop_small=())).label_map, as_it_is)


def test_classes_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="expected some of the classes bright, dark"):
        cleaned_classes([model_of()], Settings(drop_small=("Bright",)))
