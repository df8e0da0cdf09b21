"""Validation on whole volumes."""

import numpy as np
import pytest
import torch

from attention_unet.dataset.cases import Case
from attention_unet.training.validation import Validation, judge_overlap, validate
from tests.conftest import save_nifti
from tests.inference.build import CPU, Threshold, plan_of


def test_small_components_are_scored_with_and_without(tmp_path):
    image, label = np.zeros((16, 16, 16), np.float32), np.zeros((16, 16, 16), np.uint8)
    image[2:6, 2:6, 2:6] = image[12:14, 12:14, 12:14] = 100
    label[2:6, 2:6, 2:6] = 3
    paths = [save_nifti(tmp_path / f"{name}.nii.gz", each) for name, each in (("i", image), ("l", label))]
    case = Case("x", (paths[0],), paths[1])
    found = validate(Threshold(), plan_of(), [case], device=CPU, precision=torch.float32, stop=lambda: False)
    assert found.dice["x"] == pytest.approx([2 * 64 / (64 + 64 + 8), np.nan], nan_ok=True)
    assert found.dice_cleaned["x"] == pytest.approx([1, np.nan], nan_ok=True)


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
