"""The committed results of the studies of attention: they are those of the recorded studies, and planted truths."""

import dataclasses

import pytest

from attention_unet.cli.study_file import read_study
from attention_unet.study.design import Cell
from attention_unet.study.finished import read_records, read_results
from attention_unet.study.hypothesis import Hypothesis
from attention_unet.study.registration import read_registration
from attention_unet.study.verdicts import judge
from tests.conftest import REPOSITORY

STUDIES = sorted(path for path in (REPOSITORY / "studies").glob("*.yaml") if "-config" not in path.name)
CLAIMS = [Hypothesis("again", "none", expect) for expect in ("better", "equivalent")]


def results_of(file):
    plan, registration = read_study(file), read_registration(file.with_suffix(""))
    assert registration.changes(plan) == []
    return plan, read_results(read_records(plan, registration, file.with_suffix("")), file.with_suffix(""))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_committed_results_are_of_the_recorded_study(file):
    plan, results = results_of(file)
    assert set(results) <= set(plan.cells())
    assert len(results) == len(list((file.with_suffix("") / "cells").glob("*.json")))


def test_a_gain_that_is_added_to_another_seed_is_found():
    """The control was trained with two seeds. The second plays an arm that gains 0.01."""
    plan, results = results_of(REPOSITORY / "studies" / "crops.yaml")
    again = {}
    for fold in plan.folds:
        first, second = (results.get(Cell("none", None, seed, fold)) for seed in (0, 1))
        if first and second:
            again[Cell("none", None, 0, fold)] = first
            again[Cell("again", None, 0, fold)] = [dataclasses.replace(each, dice=each.dice + 0.01) for each in second]
    if len(again) < 2 * 5:
        pytest.skip("fewer than five folds are trained with both seeds")
    other = dataclasses.replace(plan.arms["none"], network=dataclasses.replace(plan.arms["none"].network, convs=3))
    arms, seeds = {"none": plan.arms["none"], "again": other}, {"none": [0], "again": [0]}
    made = dataclasses.replace(plan, arms=arms, seeds=seeds, hypotheses=CLAIMS)
    assert [verdict.outcome for verdict in judge(made, again)] == ["better", "not equivalent"]
