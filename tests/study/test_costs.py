"""Costs of arms."""

import itertools

import pytest

from attention_unet.errors import DataError
from attention_unet.study.costs import Cost, measure_costs, read_costs, write_costs
from attention_unet.study.register import plan_arms, register
from attention_unet.training.trial import Trial
from tests.study.build import study, with_all


def measured(plan, folder):
    _, registration = register(plan, folder, save=False)
    return registration, measure_costs(plan, registration, plan_arms(plan, registration.common_plan))


def test_costs_are_measured_and_read_as_written(cohort, tmp_path):
    plan = study(cohort)
    registration, costs = measured(plan, tmp_path)
    assert read_costs(plan, registration, tmp_path) is None
    none, gate = costs
    assert (none.arm, gate.arm) == ("none", "gate")
    assert none.parameters < gate.parameters
    assert none.macs < gate.macs < 1.5 * none.macs
    assert min(none.seconds, gate.seconds) > 0
    write_costs(costs, tmp_path)
    assert read_costs(plan, registration, tmp_path) == {"none": none, "gate": gate}


def test_times_are_compared_within_a_turn(cohort, tmp_path, monkeypatch):
    times = itertools.chain.from_iterable(
        (1.0 * drift, ratio * drift) for drift, ratio in ((1, 1.2), (5, 1.1), (2, 1.3), (1, 1.25), (9, 1.2))
    )
    monkeypatch.setattr("attention_unet.study.costs.try_step", lambda config, plan: Trial(2, next(times), None))
    _, (none, gate) = measured(study(cohort), tmp_path)
    assert (none.ratio, none.least_ratio, none.most_ratio, none.seconds) == (1, 1, 1, 2)
    assert (gate.ratio, gate.least_ratio, gate.most_ratio) == pytest.approx((1.2, 1.1, 1.3))


def test_operations_are_those_of_a_batch(cohort, tmp_path):
    plan = study(cohort, run_seeds=[0], folds=[0])
    registration, [one, *_] = measured(plan, tmp_path)
    _, [two, *_] = measured(with_all(plan, "training", batch=2 * registration.common_plan.batch), tmp_path)
    assert two.macs == 2 * one.macs


def test_costs_of_an_arm_that_has_changed_are_left_out(cohort, tmp_path, caplog):
    plan = study(cohort)
    _, registration = register(plan, tmp_path, save=False)
    for digest in ("old", None):
        costs = [Cost(arm, digest or registration.digest_of_arm(arm), 1, 1, 0.1, 1, 1, 1) for arm in plan.arms]
        write_costs(costs, tmp_path)
        assert (read_costs(plan, registration, tmp_path) is None) == (digest == "old")
    assert "left out, as the arm 'none' has changed or is new: measure again by --plan" in caplog.text
    write_costs(costs[::-1], tmp_path)
    assert read_costs(plan, registration, tmp_path) is None
    assert "not used, as it was measured for another first arm" in caplog.text
    assert "the costs measured before are replaced" in caplog.text


@pytest.mark.parametrize("seconds", ["0", "nan", "inf"])
def test_impossible_times_are_refused(cohort, tmp_path, seconds):
    plan = study(cohort)
    write_costs([Cost("none", "", 1, 1, float(seconds), 1, 1, 1)], tmp_path)
    with pytest.raises(
        DataError, match=r"costs\.csv: not a table of costs \(times .* of none: expected numbers above 0"
    ):
        read_costs(plan, register(plan, tmp_path, save=False)[1], tmp_path)
