"""What is shown but not tested, on made results whose truth is known."""

import dataclasses

import numpy as np
import pytest

from attention_unet.config import AttentionConfig
from attention_unet.study.design import Cell
from attention_unet.study.exploration import (
    class_names,
    common_results,
    gain_at_equal_time,
    gain_in_class,
    gains_by_volume,
    learning_curve,
    metrics_in_class,
    missed_structures,
    variation,
)
from attention_unet.study.gains import find_pairs
from attention_unet.study.scores import Score
from tests.study.build import BETTER_BY, made, study


@pytest.fixture
def plan():
    with_gate = study().arms
    placebo = dataclasses.replace(with_gate["none"], attention=AttentionConfig(skips={"displaced": "gate"}))
    arms = {**with_gate, "placebo": placebo}
    return study(arms=arms, seeds={name: [0, 1] for name in arms})


def test_gains_in_classes_and_by_volume(plan):
    results = made(plan)
    pairs = find_pairs(plan, results, "gate", "none", None)
    assert class_names(results) == ["block", "dot"]
    assert gain_in_class(pairs, "block").mean == pytest.approx(BETTER_BY)
    assert gain_in_class(pairs, "dot").mean == pytest.approx(0)
    found = gains_by_volume(pairs)
    assert {(volume, name) for volume, _, _, name in found} == {(3.0, "block"), (0.2, "dot")}
    assert sorted({case for _, _, case, _ in found}) == ["0a", "0b", "1a", "1b"]
    assert {round(gain, 6) for _, gain, _, name in found if name == "block"} == {BETTER_BY}


def test_at_equal_time_the_slower_arm_has_fewer_steps(plan):
    """At twice the time a step, the gate has 200 of 400 steps: 0.2 lower, and 0.02 of gain."""
    pairs = find_pairs(plan, made(plan), "gate", "none", None)

    def gain(seconds_of_gate):
        return gain_at_equal_time(pairs, seconds_of_gate / 0.1).mean

    assert gain(0.1) == pytest.approx(0.02)
    assert gain(0.2) == pytest.approx(0.02 - 0.2)
    assert gain(0.16) == pytest.approx(0.02 - 0.15)  # at step 250
    assert gain(0.05) == pytest.approx(0.02 + 0.2)
    for ratio in np.random.RandomState(0).uniform(0.3, 3, 100):  # in spite of rounding
        assert gain_at_equal_time(pairs, ratio).by_pair
    assert gain(0.5) != gain(0.5)  # before the first validation: NaN


def test_the_curve_is_a_mean_of_persons_and_trainings(plan):
    results = made(plan)
    assert learning_curve("none", common_results(plan, None, results)) == [
        (step, pytest.approx(0.001 * step)) for step in (100, 200, 300, 400)
    ]
    for cell, scores in results.items():
        if cell.fold == 1:  # far better, but one arm has not finished this fold
            results[cell] = [dataclasses.replace(score, dice=1.0) for score in scores]
    del results[Cell("gate", None, 0, 1)], results[Cell("gate", None, 1, 1)]
    assert learning_curve("none", common_results(plan, None, results))[0] == (100, pytest.approx(0.1))
    assert metrics_in_class("none", common_results(plan, None, results), "dot")["dice"] == pytest.approx(0.5)
    assert common_results(plan, None, {}) == {}


def test_a_structure_that_no_arm_finds_is_named(plan):
    results = made(plan)
    assert missed_structures(results) == []
    lost = {
        cell: [dataclasses.replace(score, dice=0.0) if score.class_name == "dot" else score for score in scores]
        for cell, scores in results.items()
    }
    [sentence] = missed_structures(lost)
    assert sentence.startswith("No arm finds dot: ")
    assert metrics_in_class("gate", results, "block") == {
        "dice": pytest.approx(0.54),
        "nsd": pytest.approx(1),
        "hd95_mm": pytest.approx(0),
    }
    assert set(metrics_in_class("other", results, "block").values()) == {None}


def test_a_structure_that_few_persons_have_is_found_where_it_is(plan):
    """Of the others, who have none, a few false voxels give Dice 0."""

    def rare(score):
        if score.stage == "validation" or score.case[0] == "1" or score.class_name == "block":
            return dataclasses.replace(score, reference_ml=0.0, dice=0.0)
        return score

    results = {cell: [rare(score) for score in scores] for cell, scores in made(plan).items()}
    many = {  # forty persons without
        cell: [
            *scores,
            *(dataclasses.replace(scores[-1], case=f"{cell.fold}x{n}", dice=0.0, reference_ml=0.0) for n in range(40)),
        ]
        for cell, scores in results.items()
    }
    assert missed_structures(many) == []
    assert find_pairs(plan, many, "gate", "none", None).find_any()
    absent = {
        cell: [dataclasses.replace(score, dice=0.0, reference_ml=0.0) for score in scores]
        for cell, scores in many.items()
    }
    assert missed_structures(absent) == []  # no case has any structure
    assert not find_pairs(plan, absent, "gate", "none", None).find_any()


def test_undefined_distances_are_perfect_only_where_both_masks_are_empty(plan):
    """A mask among voxels that are not annotated may have no surface."""
    results = {
        cell: [dataclasses.replace(score, dice=0.0, nsd=np.nan, hd95_mm=np.nan) for score in scores]
        for cell, scores in made(plan).items()
    }
    assert metrics_in_class("gate", results, "dot") == {"dice": 0, "nsd": None, "hd95_mm": None}
    empty = {
        cell: [dataclasses.replace(score, dice=np.nan, nsd=np.nan, hd95_mm=np.nan) for score in scores]
        for cell, scores in results.items()
    }
    assert metrics_in_class("gate", empty, "dot") == {"dice": 1, "nsd": 1, "hd95_mm": 0}


def test_volumes_use_pairs_of_trainings_only(plan):
    results = made(plan)
    del results[Cell("none", None, 1, 0)]
    results[Cell("gate", None, 1, 0)] = [
        dataclasses.replace(score, dice=0.0) for score in results[Cell("gate", None, 1, 0)]
    ]
    found = gains_by_volume(find_pairs(plan, results, "gate", "none", None))
    assert {round(gain, 6) for _, gain, _, name in found if name == "block"} == {BETTER_BY}


def test_variation_between_folds_seeds_and_persons(plan):
    results = {}
    for cell in plan.cells():
        gain = 0.1 * cell.fold + 0.02 * cell.seed if cell.arm == "gate" else 0.0
        dice = {"p": 0.5 + gain, "q": 0.5 + gain + 0.04 * (cell.arm == "gate")}
        results[cell] = [Score("prediction", 4, person, person, "dot", value) for person, value in dice.items()]
    found = variation(find_pairs(plan, results, "gate", "none", None).gain())
    half = 2**0.5
    assert found == pytest.approx({"of_folds": 0.1 / half, "of_seeds": 0.02 / half, "of_persons": 0.04 / half})
