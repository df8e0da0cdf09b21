"""Validation on whole volumes."""

import pytest

from attention_unet.training.validation import Validation, judge_overlap


def dice(**by_case):
    return Validation({case: [value, float("nan")] for case, value in by_case.items()}, {}, [], [])


@pytest.mark.parametrize(
    ("larger", "smaller", "chosen"),
    [
        (dice(a=0.9, b=0.8), dice(a=0.9, b=0.8), 0.25),
        (dice(a=0.9, b=0.8), dice(a=0.91, b=0.75), 0.5),  # a gains less than b loses
        (dice(a=0.9), dice(a=0.8996, b=0.1), 0.25),  # as little may be lost
        (dice(a=0.9), dice(a=0.8994, b=0.9), 0.5),
        (dice(), dice(a=0.9), 0.25),
    ],
)
def test_the_smaller_overlap_is_chosen_unless_it_costs_dice(larger, smaller, chosen):
    assert judge_overlap(larger, smaller) == chosen
