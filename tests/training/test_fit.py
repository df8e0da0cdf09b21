"""Budgets in minutes, tested with a clock that only the training moves."""

import csv
import dataclasses
import itertools

import pytest

from attention_unet.config import TrainingConfig
from attention_unet.training import budget as budget_module
from attention_unet.training import fit as fit_module
from attention_unet.training import train as module
from attention_unet.training.learner import Learner
from attention_unet.training.train import train
from attention_unet.training.validation import Validation
from tests.training.build import config


class Clock:
    """Clock that moves by 0.5 s when workers start, 0.2 s per step, and the given time per validation."""

    def __init__(self, monkeypatch, validations):
        self.now = 1000.0
        for part in (budget_module, fit_module):
            monkeypatch.setattr(part, "time", self)
        load, learn = module.load_patches, Learner.learn
        monkeypatch.setattr(module, "load_patches", lambda *a: (load(*a), self.take(0.5))[0])
        monkeypatch.setattr(Learner, "learn", lambda *a: (learn(*a), self.take(0.2))[0])
        monkeypatch.setattr(
            fit_module, "validate", lambda *a, **k: (Validation({}, {}, [], []), self.take(next(validations)))[0]
        )

    def monotonic(self):
        return self.now

    def take(self, seconds):
        self.now += seconds


def by_the_clock(cohort, run, monkeypatch, validations_take, **training):
    Clock(monkeypatch, iter(validations_take))
    train(dataclasses.replace(config(cohort), training=TrainingConfig(**training)), run)
    rows = list(csv.DictReader((run / "history.csv").open()))
    return [int(row["step"]) for row in rows], [60 * float(row["minutes"]) for row in rows]


def test_a_budget_in_minutes_is_kept_the_last_validation_within_it(cohort, tmp_path, monkeypatch):
    takes = [1.0, 1.1, 1.3]  # each longer than the one before
    steps, seconds = by_the_clock(cohort, tmp_path / "run", monkeypatch, takes, minutes=0.2, validations=3)
    assert 11.6 < seconds[-1] <= 12.0 + 0.2
    assert steps[-1] == pytest.approx((12 - 0.5 - 3.4) / 0.2, abs=1)
    assert len(steps) == 3


def test_validations_that_take_long_leave_time_to_train(cohort, tmp_path, monkeypatch):
    steps, seconds = by_the_clock(cohort, tmp_path / "run", monkeypatch, [1.0] * 99, minutes=0.2, validations=100)
    assert steps[0] > 0
    assert all(later > sooner for sooner, later in itertools.pairwise(steps))
    assert seconds[-1] == pytest.approx(12.0, abs=1.2)


def test_validations_missed_during_a_long_one_are_not_made_up_for_and_none_is_repeated(cohort, tmp_path, monkeypatch):
    takes = [3.0, *[0.0] * 9]
    steps, seconds = by_the_clock(cohort, tmp_path / "run", monkeypatch, takes, minutes=0.2, validations=6)
    assert seconds == pytest.approx([5.0, 5.6, 10.0, 12.0], abs=0.3)
    assert all(later > sooner for sooner, later in itertools.pairwise(steps))


def test_the_least_budget_buys_a_step(cohort, tmp_path, monkeypatch):
    steps, _ = by_the_clock(cohort, tmp_path / "run", monkeypatch, [1.0], minutes=1e-9, validations=2)
    assert steps == [1]
    assert (tmp_path / "run" / "model.safetensors").is_file()
