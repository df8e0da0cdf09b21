"""The largest connected component: kept where that does good on held-out cases, and nowhere else."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from attention_unet.errors import ConfigError
from attention_unet.inference.components import (
    ComponentGain,
    component_gains,
    keep_largest,
    pool_gains,
    single_component_classes,
)
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from tests.inference.build import model_of, scan

NAN = float("nan")
HELPS, HARMS = ComponentGain(4, 0.4, 0.05), ComponentGain(4, -0.4, 0.05)


def test_each_value_keeps_its_largest_component():
    label_map = np.zeros((9, 9, 9), dtype=np.uint8)
    label_map[0:3, 0:3, 0:3] = 1
    label_map[3, 3, 3] = 1  # shares a corner
    label_map[7:9, 7:9, 7:9] = 1
    label_map[0, 8, 0], label_map[8, 0, 0:2] = 4, 4
    label_map[4, 4, 8] = 2
    expected = label_map.copy()
    expected[7:9, 7:9, 7:9] = 0
    np.testing.assert_array_equal(keep_largest(label_map, [1, 2]), expected)
    expected[0, 8, 0] = 0
    np.testing.assert_array_equal(keep_largest(label_map, [1, 2, 4, 9]), expected)
    assert label_map[8, 8, 8] == 1  # the input is not changed


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
    assert single_component_classes(models, Settings(keep_largest=asked)) == expected


def test_a_prediction_keeps_one_component_of_the_classes_it_helps(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4))
    as_it_is = predict_volume([model_of()], volume, Settings()).label_map
    model = replace(model_of(), component_gains={"bright": HELPS, "dark": HARMS})
    by_default = predict_volume([model], volume, Settings()).label_map
    np.testing.assert_array_equal(by_default, keep_largest(as_it_is, [3]))
    assert (by_default != as_it_is).any()
    np.testing.assert_array_equal(predict_volume([model], volume, Settings(keep_largest=())).label_map, as_it_is)


@pytest.mark.parametrize("asked", [("Bright",), "bright"])
def test_classes_that_are_none_are_refused(asked):
    with pytest.raises(ConfigError, match="expected some of the classes bright, dark"):
        single_component_classes([model_of()], Settings(keep_largest=asked))
