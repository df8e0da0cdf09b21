"""Costs of arms."""

import dataclasses

import pytest

from attention_unet.errors import DataError
from attention_unet.study.costs import Cost, measure_costs, read_costs, write_costs
from attention_unet.study.registration import plan_arms
from tests.study.build import study


def test_costs_are_measured_and_read_as_written(cohort, tmp_path):
    plan = study(cohort)
    assert read_costs(plan, tmp_path) is None
    none, gate = costs = measure_costs(plan, plan_arms(plan))
    assert (none.arm, gate.arm) == ("none", "gate")
    assert none.parameters < gate.parameters
    assert none.macs < gate.macs < 1.5 * none.macs
    assert min(none.seconds, gate.seconds) > 0
    write_costs(costs, tmp_path)
    assert read_costs(plan, tmp_path) == {"none": none, "gate": gate}


def test_operations_are_those_of_a_batch(cohort):
    plan = study(cohort, run_seeds=[0], folds=[0])
    plans = plan_arms(plan)
    [one, *_] = measure_costs(plan, plans)
    arms = {
        name: dataclasses.replace(arm, training=dataclasses.replace(arm.training, batch=2 * plans[name].batch))
        for name, arm in plan.arms.items()
    }
    twice = dataclasses.replace(plan, arms=arms)
    assert measure_costs(twice, plan_arms(twice))[0].macs == 2 * one.macs


def test_an_arm_without_a_cost_is_named(tmp_path):
    write_costs([Cost("none", 1, 1, 0.1)], tmp_path)
    with pytest.raises(DataError, match=r"costs\.csv: has no cost of gate: measure again by --plan"):
        read_costs(study(), tmp_path)
