import dataclasses

import pytest
import torch

from attention_unet.config import Config, NetworkConfig, TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.preparation.planning import make_plan
from attention_unet.preparation.sizing import choose_size
from attention_unet.training import trial
from attention_unet.training.trial import measure_machine, measure_rate, try_step
from tests.preparation.build import LAPTOP, cohort_of, dataset

CONFIG = Config(network=NetworkConfig(base_channels=4, max_levels=2), training=TrainingConfig(steps=1))
PLAN = make_plan(CONFIG, dataset(), cohort_of((16, 16, 16), (1, 1, 1)), LAPTOP)


def test_a_step_is_timed():
    step = try_step(CONFIG, PLAN)
    assert step.patches == PLAN.batch
    assert step.seconds > 0
    assert step.bytes is not None
    assert step.bytes > PLAN.batch * 16**3 * 4 * 4


def test_a_step_too_large_for_the_memory_is_told():
    with pytest.raises(ConfigError, match=r"of \(100000, 100000, 100000\) does not fit into the memory of cpu: lower"):
        try_step(CONFIG, dataclasses.replace(PLAN, patch=(100_000,) * 3))


def test_a_network_too_large_for_the_memory_is_told(monkeypatch):
    def fail(plan):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("attention_unet.training.trial.build_network", fail)
    with pytest.raises(ConfigError, match="does not fit into the memory of cpu"):
        try_step(CONFIG, PLAN)


@pytest.mark.parametrize("budget", [{"steps": 10}, {"minutes": 1.0}])
def test_only_a_budget_in_minutes_is_worth_a_measurement(budget):
    assert measure_machine(TrainingConfig(accelerator="cpu", **budget)).voxels_per_second is None


def test_a_slow_machine_gets_small_patches(monkeypatch):
    config = TrainingConfig(accelerator="cpu", minutes=60)
    patches = []
    for rate in (150_000, 1_500_000):
        monkeypatch.setattr(trial, "measure_rate", lambda config, rate=rate: rate)
        patches.append(choose_size(Config(training=config), measure_machine(config), 3).patch_voxels)
    assert patches == [48**3, 80**3]


def test_the_measurement_changes_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    assert 1e3 < measure_rate(TrainingConfig(accelerator="cpu", precision="float32")) < 1e8
    assert torch.equal(torch.rand(3), expected)
