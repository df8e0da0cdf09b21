import dataclasses

import pytest

from attention_unet.config import AttentionConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.preparation.levels import check_levels, smallest_patch
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import configure_like, make_plan
from tests.preparation.build import LAPTOP, cohort_of, dataset

START = TrainingConfig(start_from="model")
OF_MODEL = Config(
    network=NetworkConfig(base_channels=6, block="residual", norm="group", deep_supervision=False),
    attention=AttentionConfig(skips={1: "gate", 2: "cross"}, encoder="se"),
)


def model(config=OF_MODEL, grid=(35, 50, 36), spacing=(1.0, 1.0, 1.0), kept=1.0):
    """Return a plan as read from a model file."""
    made = make_plan(config, dataset(), cohort_of(grid, spacing, kept), LAPTOP)
    return Plan.from_json(made.to_json())


def test_the_network_is_that_of_the_model_except_for_channels_and_classes():
    start = model(kept=0.5)
    plan = make_plan(
        Config(training=START), dataset(channels=3), cohort_of((160, 200, 160), (0.8,) * 3), LAPTOP, start=start
    )
    assert plan.architecture == dataclasses.replace(start.architecture, in_channels=3)
    assert plan.preprocessing == start.preprocessing
    assert plan.preprocessing.nonzero
    assert plan.patch != start.patch  # that of other scans
    assert plan.channels == ("c0", "c1", "c2")


def test_the_configuration_names_what_is_trained():
    config = configure_like(Config(training=START), model())
    assert config.network == NetworkConfig(base_channels=6, block="residual", norm="group", deep_supervision=False)
    assert config.attention == OF_MODEL.attention
    assert config.data.spacing_mm == [1.0, 1.0, 1.0]
    assert configure_like(config, model()) == config


def test_a_configured_voxel_size_is_kept():
    config = Config(data=DataConfig(spacing_mm=[2.0, 2.0, 2.0]), training=START)
    plan = make_plan(config, dataset(), cohort_of((160, 200, 160), (1, 1, 1)), LAPTOP, start=model())
    assert plan.preprocessing.spacing_mm == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": NetworkConfig(base_channels=8)}, "network.base_channels is 8: the model .* has 6"),
        ({"network": NetworkConfig(max_levels=3)}, "network.max_levels is 3: .* has 4"),
        ({"network": NetworkConfig(max_channels=40)}, "network.max_channels is 40: .* has 48"),
        ({"network": NetworkConfig(dims=2)}, "network.dims is 2: .* has 3"),
        ({"attention": AttentionConfig(skips="cross")}, "attention.skips is cross"),
        ({"attention": AttentionConfig(bottleneck="self")}, "attention.bottleneck is self: .* has identity"),
    ],
)
def test_another_network_is_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        configure_like(Config(training=START, **changed), model())


def test_limits_above_those_of_the_model_are_no_contradiction():
    """A model can be trained again with the very configuration of its training."""
    limits = NetworkConfig(base_channels=6, max_channels=64, max_levels=5, block="residual", norm="group")
    config = dataclasses.replace(OF_MODEL, network=dataclasses.replace(limits, deep_supervision=False))
    assert configure_like(config, model(config)).network == config.network


def test_a_patch_that_must_be_larger_is_told(caplog):
    small = Config(data=DataConfig(patch_voxels=4096), training=START)
    with caplog.at_level("INFO"):
        plan = make_plan(small, dataset(), cohort_of((90, 90, 90), (1, 1, 1)), LAPTOP, start=model())
    assert plan.patch == (32, 32, 32)
    assert "patches have at least [32, 32, 32] voxels" in caplog.text


def test_the_same_network_may_be_named():
    named = Config(network=NetworkConfig(base_channels=6, block="residual"), attention=OF_MODEL.attention)
    assert configure_like(named, model()) == configure_like(Config(), model())


def test_a_planned_patch_has_four_voxels_at_the_coarsest_level():
    plan = make_plan(Config(training=START), dataset(), cohort_of((14, 90, 17), (1, 1, 1)), LAPTOP, start=model())
    assert plan.patch[0] == plan.patch[2] == 32
    assert plan.patch[1] % 8 == 0


def test_a_configured_patch_with_a_level_of_two_voxels_is_refused():
    config = Config(data=DataConfig(patch=[16, 40, 40]), training=START)
    with pytest.raises(ConfigError, match=r"data.patch is \[16, 40, 40\]: .*at least \[32, 32, 32\]"):
        make_plan(config, dataset(), cohort_of((40, 40, 40), (1, 1, 1)), LAPTOP, start=model())
    check_levels([24, 40, 8], [[2, 2, 1]] * 3)
    with pytest.raises(ConfigError, match="at least"):
        check_levels([24, 9, 8], [[2, 2, 1]] * 3)
    assert smallest_patch([[2, 2, 1]] * 3).tolist() == [32, 32, 1]


def test_slices_lie_as_those_of_the_model():
    flat = Config(network=NetworkConfig(dims=2))
    start = model(flat, (64, 10, 64), (1, 5, 1))
    assert start.slice_axis == 1
    fine = cohort_of((64, 64, 64), (1, 1, 1))
    plan = make_plan(Config(training=START), dataset(), fine, LAPTOP, start=start)
    assert plan.slice_axis == 1
    assert plan.patch[1] == 1
    across = Config(data=DataConfig(patch=[64, 64, 1]), training=START)
    assert make_plan(across, dataset(), fine, LAPTOP, start=start).slice_axis == 2
