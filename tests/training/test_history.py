import math

import numpy as np
import pytest

from attention_unet.training.history import CaseDice, find_fall


def rows(step, scores):
    """Return the validation of a class ``a`` at a step: one Dice a case."""
    return [CaseDice(step, str(case), "a", dice) for case, dice in enumerate(scores)]


START = np.linspace(0.7, 0.9, 8)


def test_the_best_earlier_validation_is_found_over_the_cases_of_both():
    noise = np.array([1, -1, 2, -2, 1, -1, 2, -2]) / 1000
    history = [*rows(10, START - 0.1), *rows(20, START + 0.03 + noise), *rows(30, START[:6] + 0.02), *rows(40, START)]
    step, fall = find_fall(history)
    assert step == 20
    assert fall == pytest.approx(0.03)
    few = [*rows(20, [*START[:5], *[math.nan] * 3]), *rows(40, START - 0.04)]
    assert find_fall(few) == (20, pytest.approx(0.04))


@pytest.mark.parametrize(
    "history",
    [
        [],
        rows(10, START),
        [*rows(10, START - 0.1), *rows(20, START)],
        [*rows(10, START + np.array([0.3] + [-0.02] * 7)), *rows(20, START)],  # one case: chance
        [*rows(10, START[:4] + 0.1), *rows(20, START)],
    ],
)
def test_no_fall_is_told_that_is_none_or_may_be_chance(history):
    assert find_fall(history) == (0, 0.0)
