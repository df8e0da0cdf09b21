import dataclasses

import pytest
import torch

from attention_unet.config import Config, NetworkConfig, TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.preparation.planning import make_plan
from attention_unet.training.trial import try_step
from tests.preparation.build import LAPTOP, cohort_of, dataset

CONFIG = Config(network=NetworkConfig(base_channels=4, max_levels=2), training=TrainingConfig(steps=1))
PLAN = make_plan(CONFIG, dataset(), cohort_of((16, 16, 16), (1, 1, 1)), LAPTOP)


def test_a_step_is_timed():
    trial = try_step(CONFIG, PLAN)
    assert trial.patches == PLAN.batch
    assert trial.seconds > 0
    assert trial.bytes is not None
    assert trial.bytes > PLAN.batch * 16**3 * 4 * 4


def test_a_step_too_large_for_the_memory_is_told():
    with pytest.raises(ConfigError, match=r"of \(100000, 100000, 100000\) does not fit into the memory of cpu: lower"):
        try_step(CONFIG, dataclasses.replace(PLAN, patch=(100_000,) * 3))


def test_a_network_too_large_for_the_memory_is_told(monkeypatch):
    def fail(plan):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("attention_unet.training.trial.build_network", fail)
    with pytest.raises(ConfigError, match="does not fit into the memory of cpu"):
        try_step(CONFIG, PLAN)
