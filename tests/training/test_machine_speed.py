"""The measured speed of the machine."""

import pytest
import torch

from attention_unet.config import Config, TrainingConfig
from attention_unet.preparation.sizing import choose_size
from attention_unet.training import trial
from attention_unet.training.trial import measure_machine, measure_rate


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
