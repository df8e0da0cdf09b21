"""What is shown but not tested, on made results whose truth is known."""

import dataclasses

import pytest

from attention_unet.config import AttentionConfig
from attention_unet.study.costs import Cost
from attention_unet.study.exploration import (
    class_names,
    displaced_arm,
    gain_at_equal_time,
    gain_in_class,
    gains_by_volume,
    learning_curve,
    placebo_sentences,
    variation,
)
from attention_unet.study.gains import gain_between
from attention_unet.study.scores import Score
from attention_unet.study.verdicts import judge
from tests.study.build import study

BETTER_BY = 0.04


def made(plan):
    """The gate gains 0.04 in "block" and nothing in "dot"; Dice rises by 0.1 in each 100 steps."""
    results = {}
    for cell in plan.cells():
        gain = {"none": 0.0, "gate": BETTER_BY, "placebo": 0.01 * (cell.fold + 1)}[cell.arm]
        results[cell] = [
            Score("validation", step, case, case, name, 0.001 * step + gain * (name == "block"))
            for step in (100, 200, 300, 400)
            for case in (f"{cell.fold}a", f"{cell.fold}b")
            for name in ("block", "dot")
        ] + [
            Score("prediction", 400, case, case, name, 0.5 + gain * (name == "block"), 1.0, 0.0, volume)
            for case in (f"{cell.fold}a", f"{cell.fold}b")
            for name, volume in (("block", 3.0), ("dot", 0.2))
        ]
    return results


@pytest.fixture
def plan():
    with_gate = study().arms
    placebo = dataclasses.replace(with_gate["none"], attention=AttentionConfig(skips={"displaced": "gate"}))
    arms = {**with_gate, "placebo": placebo}
    return study(arms=arms, seeds={name: [0, 1] for name in arms})


def test_gains_in_classes_and_by_volume(plan):
    results = made(plan)
    assert class_names(results) == ["block", "dot"]
    assert gain_in_class(plan, "gate", "none", None, results, "block").mean == pytest.approx(BETTER_BY)
    assert gain_in_class(plan, "gate", "none", None, results, "dot").mean == pytest.approx(0)
    found = gains_by_volume(plan, "gate", "none", None, results)
    assert {(volume, name) for volume, _, _, name in found} == {(3.0, "block"), (0.2, "dot")}
    assert sorted({case for _, _, case, _ in found}) == ["0a", "0b", "1a", "1b"]
    assert {round(gain, 6) for _, gain, _, name in found if name == "block"} == {BETTER_BY}


def test_at_equal_time_the_slower_arm_has_fewer_steps(plan):
    """At twice the time a step, the gate has 200 of 400 steps: 0.2 lower, and 0.02 of gain."""
    results = made(plan)

    def gain(seconds_of_gate):
        costs = {"none": Cost("none", 1, 1, 0.1), "gate": Cost("gate", 1, 1, seconds_of_gate)}
        return gain_at_equal_time(plan, "gate", "none", None, results, costs).mean

    assert gain(0.1) == pytest.approx(0.02)
    assert gain(0.2) == pytest.approx(0.02 - 0.2)
    assert gain(0.16) == pytest.approx(0.02 - 0.15)  # at step 250
    assert gain(0.05) == pytest.approx(0.02 + 0.2)
    costs = {"none": Cost("none", 1, 1, 1.8212975868171155), "gate": Cost("gate", 1, 1, 3.2532534395101456)}
    assert not gain_at_equal_time(plan, "gate", "none", None, results, costs).missing  # in spite of rounding
    assert gain(0.5) != gain(0.5)  # before the first validation: NaN


def test_the_curve_is_a_mean_of_persons_and_trainings(plan):
    assert learning_curve("none", None, made(plan)) == [
        (step, pytest.approx(0.001 * step)) for step in (100, 200, 300, 400)
    ]


def test_a_displaced_control_is_recognised_and_reported(plan):
    assert displaced_arm(plan, "gate") == "placebo"
    assert displaced_arm(plan, "none") is None
    assert displaced_arm(plan, "placebo") is None
    results = made(plan)
    [sentence] = placebo_sentences(plan, judge(plan, results), results)
    assert sentence.startswith("With the weights of gate displaced (placebo): +0.0075 over none (95% -0.0")


def test_variation_between_folds_seeds_and_persons(plan):
    dice = {}
    for cell in plan.cells():
        gain = 0.1 * cell.fold + 0.02 * cell.seed if cell.arm == "gate" else 0.0
        dice[cell] = {"p": 0.5 + gain, "q": 0.5 + gain + 0.04 * (cell.arm == "gate")}
    found = variation(gain_between(plan, "gate", "none", None, dice))
    half = 2**0.5
    assert found == pytest.approx({"folds": 0.1 / half, "seeds": 0.02 / half, "persons": 0.04 / half})
