"""Budgets in minutes, tested with a clock that only the training moves."""

import dataclasses
import itertools
import signal
from contextlib import nullcontext
from unittest import mock

import pytest
import torch

from attention_unet.config import TrainingConfig
from attention_unet.dataset import splits
from attention_unet.inference.model_file import load_model
from attention_unet.training import batches, validation_round
from attention_unet.training import budget as budget_module
from attention_unet.training import fit as fit_module
from attention_unet.training import train as module
from attention_unet.training.interruption import Interrupted
from attention_unet.training.learner import Learner, Step
from attention_unet.training.train import train
from attention_unet.training.validation import Validation
from tests.conftest import read_csv
from tests.training.build import config


class Clock:
    """Clock that moves by 0.5 s when workers start, 0.2 s per step, and the given time per case of a validation.

    Steps learn nothing.
    """

    def __init__(self, monkeypatch, case_takes, larger, locating, case_work):
        self.now, self.cases, self.overlaps, self.rates, self.chosen = 1000.0, [], [], [], False
        self.stop_at = 0
        self.trained_on = []  # cases, for each time that patches are opened
        for part in (module, budget_module, fit_module, validation_round):
            monkeypatch.setattr(part, "time", self)
        monkeypatch.setattr(module, "_restore_or_train_locator", lambda *_: self.take(locating))
        monkeypatch.setattr(fit_module, "CASE_WORK", case_work)
        monkeypatch.setattr(batches, "load_patches", self.load_patches)

        def learn(learner, batch, rate, fixed_encoder):
            self.rates.append(rate)
            self.take(0.2)
            learner.step += 1
            if learner.step == self.stop_at:
                signal.raise_signal(signal.SIGINT)
            return Step(learner.step, torch.tensor(1.0), torch.tensor(1.0))

        monkeypatch.setattr(Learner, "learn", learn)

        def validate(network, plan, cases, *, overlap, seconds, **_):
            began, scores = self.now, {}
            value = larger if overlap == 0.5 else 0.3
            for case in cases:
                if scores and seconds is not None and self.now - began > seconds:
                    break
                scores[case.id] = [value] * len(plan.labels.names)
                self.take(next(case_takes) * {0.0: 0.42, 0.25: 1.0, 0.5: 3.4}[overlap])
            if overlap == 0.5:
                self.chosen = True
            else:
                self.cases.append(len(scores))
                self.overlaps.append(overlap)
            return Validation(scores, scores, [], [])

        monkeypatch.setattr(validation_round, "validate", validate)

    def load_patches(self, patches, *_):
        self.trained_on.append({patches.case_of(number) for number in range(50)})
        self.take(0.5)
        yield from itertools.repeat(None)

    def monotonic(self):
        return self.now

    def take(self, seconds):
        self.now += seconds


@pytest.fixture
def by_the_clock(cohort, tmp_path, monkeypatch):
    """Train by a clock. A case of a validation takes the same time each time, or the times of a list in turn."""

    def trained(takes, larger=0.3, fold=0, locating=0.0, case_work=0.0, run="run", resume=False, stop_at=0, **training):
        case_takes = iter(takes) if isinstance(takes, list) else itertools.repeat(takes)
        clock = Clock(monkeypatch, case_takes, larger, locating, case_work)
        chosen = dataclasses.replace(config(cohort, data={"fold": fold}), training=TrainingConfig(**training))
        clock.stop_at = stop_at
        with pytest.raises(Interrupted) if stop_at else nullcontext():
            train(chosen, tmp_path / run, resume=resume, override=resume)
        if stop_at:
            return None
        rows = read_csv(tmp_path / run / "history.csv")
        rows = rows[-len(clock.cases) :] if resume else rows
        assert [int(row["cases"]) for row in rows] == clock.cases[-len(rows) :]
        return [int(row["step"]) for row in rows], [60 * float(row["minutes"]) for row in rows], clock

    return trained


def test_a_budget_in_minutes_is_kept_the_last_validation_within_it(by_the_clock):
    takes = [0.1 * 1.05**n for n in range(99)]  # each longer than the one before
    steps, seconds, clock = by_the_clock(takes, minutes=0.2, validations=4)
    assert 11.6 < seconds[-1] <= 12.0 + 0.2
    assert clock.cases == [2, 2, 2, 2]
    assert set(clock.overlaps) == {0.25}
    assert not clock.chosen  # one case would take too long
    assert steps[-1] == pytest.approx((12 - 0.5 - sum(takes[:8])) / 0.2, abs=2)


def test_the_network_has_the_time_that_its_locator_leaves(by_the_clock):
    steps, seconds, clock = by_the_clock(0.01, locating=4.0, minutes=0.2, validations=2, warmup=0.3)
    assert seconds == pytest.approx([8.0, 12.0], abs=0.5)
    assert steps[0] == pytest.approx((8.0 - 4.0 - 0.5) / 0.2, abs=2)
    assert clock.rates[0] < 0.2 * max(clock.rates)  # a warm-up of its own


def test_the_learning_rate_rises_as_configured_and_falls_at_the_end(by_the_clock):
    _, _, clock = by_the_clock(0.01, steps=40, validations=1, warmup=0.3)
    rising = [step / 12 for step in range(1, 12)]
    assert clock.rates[1:12] == pytest.approx([0.002 * share for share in rising])
    assert clock.rates[12:21] == [0.002] * 9
    assert clock.rates[20:] == pytest.approx([0.002 * (1 - n / 20) for n in range(20)])


def test_large_volumes_leave_most_of_the_time_to_train(by_the_clock, caplog):
    """One case takes a thirtieth of the budget: one is enough to see progress, two are judged at the end."""
    steps, seconds, clock = by_the_clock(1.0, minutes=0.5, validations=10)
    assert clock.cases == [1, 1, 2]
    assert set(clock.overlaps) == {0.25}
    assert steps[-1] * 0.2 > 0.83 * 30
    assert 29 < seconds[-1] <= 30.2
    assert not clock.chosen
    assert "mean Dice is only 0.3000 after" in caplog.text


def test_cases_that_would_take_too_long_wait_for_the_end(by_the_clock):
    """Their time is expected from that of a step, before the first of them is tried."""
    steps, seconds, clock = by_the_clock(5.0, case_work=1e3, minutes=0.5, validations=10)
    assert clock.cases == [1]
    assert clock.overlaps == [0.0]
    assert 28 < seconds[-1] <= 30
    assert steps[-1] * 0.2 > 25


def test_another_budget_keeps_its_own_time_for_the_last_validation(by_the_clock):
    _, before, _ = by_the_clock(10.0, steps=20, validations=2)  # keeps 24 s for its last validation
    minutes = (before[-1] + 20) / 60
    steps, seconds, _ = by_the_clock(0.1, resume=True, minutes=minutes, validations=1)
    assert 60 * minutes - 2 < seconds[-1] <= 60 * minutes + 0.2
    assert steps[-1] > 20 + 80


def test_a_resumption_on_a_faster_machine_has_time_to_validate(by_the_clock):
    by_the_clock(0.01, case_work=1e6, stop_at=12, minutes=0.5, validations=10)  # would take hours for a case
    _, seconds, clock = by_the_clock(0.01, resume=True, minutes=0.5, validations=10)
    assert len(clock.cases) > 5
    assert 29 < seconds[-1] <= 30


def test_a_case_that_takes_longer_than_its_share_is_the_only_one(by_the_clock):
    steps, seconds, clock = by_the_clock(5.0, minutes=0.5, validations=10)
    assert clock.cases == [1, 1]
    assert clock.overlaps == [0.25, 0.0]
    assert 28 < seconds[-1] <= 30
    assert steps[-1] * 0.2 > 20


@pytest.mark.parametrize(("larger", "overlap"), [(0.3, 0.25), (0.4, 0.5)])
def test_the_overlap_for_predictions_is_chosen_and_stored(by_the_clock, tmp_path, larger, overlap):
    by_the_clock(0.01, larger, minutes=0.2, validations=2)
    assert load_model(tmp_path / "run").overlap == overlap


def test_without_held_out_cases_late_ones_are_timed_and_choose_the_overlap(by_the_clock, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "LATE_FOLDS", 4)
    # There is no time to try in the last two: it is safe. In the last one the windows would not overlap at the end.
    for takes, larger, overlap in ((0.01, 0.4, 0.5), (0.01, 0.3, 0.25), (1.0, 0.3, 0.5), (1.3, 0.3, 0.5)):
        run = f"{takes} {larger}"
        _, seconds, clock = by_the_clock(takes, larger, fold=-1, run=run, minutes=0.2, validations=1)
        before, after = clock.trained_on
        assert before < after  # the late ones only after they were predicted
        model = load_model(tmp_path / run)
        assert model.overlap == overlap
        assert model.component_gains
        assert all(gain.cases for gain in model.component_gains.values())
        assert seconds[-1] == pytest.approx(12.0, abs=0.4)


def test_a_budget_in_steps_validates_on_all_cases_and_says_what_it_takes(by_the_clock, caplog):
    _, _, clock = by_the_clock(5.0, steps=10, validations=3)
    assert clock.cases == [2, 2, 2]
    assert set(clock.overlaps) == {0.25}
    assert "validations took 96 % of the time: lower training.validations, hold out fewer" in caplog.text


def test_validations_leave_time_to_train(by_the_clock):
    steps, seconds, clock = by_the_clock(0.05, minutes=0.2, validations=100)
    assert steps[0] > 0
    assert all(later > sooner for sooner, later in itertools.pairwise(steps))
    assert seconds[-1] == pytest.approx(12.0, abs=1.2)
    assert 0.05 * sum(clock.cases) < 0.1 * 12
    assert clock.chosen


def test_validations_missed_during_a_long_one_are_not_made_up_for_and_none_is_repeated(by_the_clock):
    takes = [0.8, *[0.0] * 99]
    steps, seconds, clock = by_the_clock(takes, minutes=0.5, validations=10)
    assert clock.cases[0] == 1
    assert all(later > sooner for sooner, later in itertools.pairwise(steps))
    assert len(steps) == pytest.approx(6, abs=1)  # none while the first has used up their time
    assert seconds[-1] == pytest.approx(30.0, abs=0.5)


def test_a_few_slow_steps_leave_no_last_validation_without_limit(by_the_clock):
    steps, _, clock = by_the_clock(0.1, minutes=0.02, validations=1)
    assert steps[-1] < fit_module.ESTIMATED_AT
    assert clock.cases == [1]


def test_the_start_of_the_readers_does_not_count_as_speed(by_the_clock, tmp_path):
    by_the_clock(0.0, steps=8, validations=2, batch=2)
    rows = read_csv(tmp_path / "run" / "history.csv")
    assert [float(row["patches_a_second"]) for row in rows] == pytest.approx([2 / 0.2] * 2)


def test_time_for_validations_by_several_processes(monkeypatch):
    """Each process trains on its share of the patches, and all wait for the one with the most cases."""
    monkeypatch.setattr(fit_module, "synchronise", lambda fabric, *values: values)
    training = mock.Mock()
    training.learner.fabric.world_size = 4
    training.loop.seconds = 0.05  # for each patch of all processes: 0.2 s in one
    training.settings.plan.patch = [10, 10, 10]
    training.prepared.typical_voxels.return_value = 10_000
    training.prepared.held_out_cases = [None] * 5
    training.budget = budget_module.Budget(None, 1000.0)
    fit_module.expect_validations(training)
    assert training.loop.case_seconds == pytest.approx(budget_module.CASE_WORK * 10 * 0.2)
    overlap = training.budget.validation_seconds
    assert training.budget.reserve == pytest.approx(budget_module.RESERVED * 2 * training.loop.case_seconds + overlap)


def test_the_least_budget_buys_a_step(by_the_clock, tmp_path):
    steps, _, _ = by_the_clock([1.0] * 9, minutes=1e-9, validations=2)
    assert steps == [1]
    assert (tmp_path / "run" / "model.safetensors").is_file()
