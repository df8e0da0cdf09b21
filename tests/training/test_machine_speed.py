"""The measured speed of the machine."""

import pytest
import torch

from attention_unet.config import Config, TrainingConfig
from attention_unet.preparation.sizing import choose_size
from attention_unet.training import machine_speed
from attention_unet.training.machine_speed import choose_fastest_precision, measure_machine, measure_rate


@pytest.mark.parametrize("budget", [{"steps": 10}, {"minutes": 1.0}, {}])
def test_only_a_budget_in_minutes_is_worth_a_measurement(budget):
    assert measure_machine(TrainingConfig(accelerator="cpu", **budget)).voxels_per_second is None


def test_a_slow_machine_gets_small_patches(monkeypatch):
    config = TrainingConfig(accelerator="cpu", minutes=60)
    patches = []
    for rate in (150_000, 1_500_000):
        monkeypatch.setattr(machine_speed, "measure_rate", lambda config, rate=rate: rate)
        patches.append(choose_size(Config(training=config), measure_machine(config)).patch_voxels)
    assert patches == [48**3, 80**3]


def test_the_faster_precision_is_chosen_for_a_budget_in_minutes(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    for faster in ("bfloat16", "float32"):
        monkeypatch.setattr(
            machine_speed, "measure_rate", lambda c, faster=faster: 2.0 if c.precision == faster else 1.0
        )
        config = TrainingConfig(accelerator="cpu", minutes=60)
        assert choose_fastest_precision(config).precision == faster
    assert choose_fastest_precision(TrainingConfig(accelerator="cpu", steps=60)).precision == "auto"
    given = TrainingConfig(accelerator="cpu", minutes=60, precision="bfloat16")
    assert choose_fastest_precision(given).precision == "bfloat16"


def test_the_measurement_changes_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    assert 1e3 < measure_rate(TrainingConfig(accelerator="cpu", precision="float32")) < 1e8
    assert torch.equal(torch.rand(3), expected)
