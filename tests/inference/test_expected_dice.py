"""Expected Dice, compared with the Dice of truths that are drawn from the same probabilities."""

import numpy as np
import pytest
import torch

from attention_unet.inference.decision import combine_planes
from attention_unet.inference.expected_dice import expected_dice
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels

EXCLUSIVE = Labels({"a": (1,), "b": (2,)}, (1, 2))
OVERLAPPING = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def estimate(probabilities, labels):
    planes = [torch.from_numpy(probabilities.astype(np.float32))[:, i : i + 4] for i in range(0, 12, 4)]
    return expected_dice(sum(combine_planes([each], [[]], labels, Settings())[1] for each in planes))


@pytest.mark.parametrize("sharpness", [0.5, 1, 4])
def test_truths_drawn_from_the_probabilities_of_classes_have_this_dice(sharpness):
    random = np.random.RandomState(0)
    logits = sharpness * random.normal(size=(3, 12, 20, 20))
    probabilities = 0.1 + 0.7 * np.exp(logits) / np.exp(logits).sum(axis=0)
    masks, truths = probabilities.argmax(axis=0), []
    for _ in range(50):
        drawn = (random.uniform(size=masks.shape) > probabilities.cumsum(axis=0)[:2]).sum(axis=0)
        truths.append([dice(masks == c, drawn == c) for c in (1, 2)])
    assert estimate(probabilities, EXCLUSIVE) == pytest.approx(np.mean(truths, axis=0), abs=0.005)


def test_truths_drawn_from_the_probabilities_of_overlapping_classes_have_this_dice():
    random = np.random.RandomState(0)
    probabilities = 0.1 + 0.9 * random.uniform(size=(2, 12, 20, 20)) ** [[[[1]]], [[[3]]]]
    draws = [random.uniform(size=probabilities.shape) < probabilities for _ in range(50)]
    truths = [[dice(probabilities[c] > 0.5, drawn[c]) for c in (0, 1)] for drawn in draws]
    assert estimate(probabilities, OVERLAPPING) == pytest.approx(np.mean(truths, axis=0), abs=0.005)


@pytest.mark.parametrize(("low", "counts"), [(0.09, 0), (0.11, 1)])
def test_low_probabilities_do_not_count(low, counts):
    probabilities = np.zeros((3, 12, 2, 2))
    probabilities[1, 0], probabilities[1, 1] = 0.8, low
    probabilities[0] = 1 - probabilities[1]
    assert estimate(probabilities, EXCLUSIVE)[0] == pytest.approx(2 * 3.2 / (4 + 3.2 + counts * 4 * low))


def test_a_class_without_mask_has_none():
    probabilities = np.zeros((3, 12, 2, 2))
    probabilities[0], probabilities[1, 0], probabilities[0, 0] = 0.93, 0.8, 0.13
    probabilities[1:, 1:] = 0.07 / 2  # below 0.1: not counted
    probabilities[2, 0] = 0.07
    assert estimate(probabilities, EXCLUSIVE) == pytest.approx([2 * 3.2 / (4 + 3.2), np.nan], nan_ok=True)
