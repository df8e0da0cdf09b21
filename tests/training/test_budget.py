import math

import pytest

from attention_unet.config import TrainingConfig
from attention_unet.training import budget as module
from attention_unet.training.budget import Budget, learning_rate_factor


def test_without_a_budget_it_is_an_hour():
    assert Budget.from_config(TrainingConfig()).seconds == 3600
    assert Budget.from_config(TrainingConfig()).steps is None


def test_steps_are_counted():
    budget = Budget.from_config(TrainingConfig(steps=50))
    assert (budget.steps, budget.seconds) == (50, None)
    assert [budget.progress(step) for step in (0, 25, 50, 60)] == [0, 0.5, 1, 1]


def test_minutes_follow_the_clock_breaks_left_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    budget = Budget.from_config(TrainingConfig(minutes=2))
    budget.started = 100.0
    now[0] = 130.0
    assert budget.progress(7) == pytest.approx(0.25)
    budget.reserve = 60.0
    assert budget.progress(7) == pytest.approx(0.5)
    assert budget.seconds_left(7) == pytest.approx(90)
    resumed = Budget(None, 120.0, elapsed_before=30.0, started=130.0)
    now[0] = 160.0
    assert resumed.progress(0) == pytest.approx(0.5)


def test_time_left_follows_the_speed_since_the_run_was_resumed(monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 160.0)
    resumed = Budget(1000, None, elapsed_before=5000.0, steps_before=300, started=100.0)
    assert resumed.seconds_left(420) == pytest.approx(290)  # two steps a second
    assert resumed.seconds_left(300) == math.inf


def test_validations_before_the_last_have_a_share_of_the_time_so_far():
    budget = Budget(None, 1000.0)
    assert budget.may_validate(0.5, spent=20.0, case_seconds=3.0)
    assert not budget.may_validate(0.5, spent=21.0, case_seconds=3.0)
    assert not budget.may_validate(0.5, spent=0.0, case_seconds=41.0)  # one case would take more than all may
    assert Budget(100, None).may_validate(0.0, spent=1e9, case_seconds=1e9)


def test_learning_rate_rises_stays_and_falls():
    factors = [learning_rate_factor(p / 100, warmup=0.1) for p in range(101)]
    assert 0 < factors[0] < factors[1]
    assert factors[:11] == sorted(factors[:11])
    assert factors[5] == pytest.approx(0.5)
    assert factors[10:51] == [1.0] * 41
    assert factors[51:100] == pytest.approx([1 - n / 50 for n in range(1, 50)])
    assert factors[100] == 0.01
    short = [learning_rate_factor(p / 100, 0.1, 1 / 8) for p in range(101)]
    assert short[10:88] == [1.0] * 78
    assert short[88:] == pytest.approx([0.96, 0.88, 0.8, 0.72, 0.64, 0.56, 0.48, 0.4, 0.32, 0.24, 0.16, 0.08, 0.01])
    assert learning_rate_factor(0.0, warmup=0.0) == 1
    assert learning_rate_factor(1.0, warmup=0.0) > 0  # a budget that is over before the first step still trains it
