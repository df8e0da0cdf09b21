"""Intervals of means, against the t test and by how often they cover the true mean."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from attention_unet.evaluation.interval import interval_of_mean


def test_an_interval_of_independent_cases_is_that_of_the_t_test():
    values = np.random.RandomState(0).normal(0.8, 0.05, 12)
    assert interval_of_mean(values) == pytest.approx(tuple(ttest_1samp(values, 0).confidence_interval()))
    expected = tuple(ttest_1samp(values, 0).confidence_interval(0.99))
    assert interval_of_mean(values, level=0.99) == pytest.approx(expected)
    assert interval_of_mean(values, [str(i) for i in range(12)]) == pytest.approx(interval_of_mean(values))


def test_of_pairs_it_is_that_of_their_means():
    pairs = np.random.RandomState(1).normal(0.8, 0.05, (10, 2))
    subjects = [f"head{i}" for i in range(10) for _ in range(2)]
    expected = tuple(ttest_1samp(pairs.mean(axis=1), 0).confidence_interval())
    assert interval_of_mean(pairs.ravel(), subjects) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6]])
def test_of_two_persons_there_is_none(values):
    assert all(map(math.isnan, interval_of_mean(values)))
    assert all(map(math.isnan, interval_of_mean([0.5, 0.6, 0.7], ["a"] * 3)))


@pytest.mark.parametrize("persons", [3, 15, 42])
def test_it_covers_the_mean_as_often_as_it_says(persons):
    """2000 samples of persons with one or two scans each: 95 % within the error of such a count and a margin."""
    random, covered = np.random.RandomState(persons), 0
    for _ in range(2000):
        scans = random.randint(1, 3, persons)
        subjects = np.repeat(np.arange(persons).astype(str), scans)
        values = np.repeat(random.normal(0, 1, persons), scans) + random.normal(0, 0.5, scans.sum())
        low, high = interval_of_mean(values, subjects.tolist())
        covered += low <= 0 <= high
    assert 0.92 < covered / 2000 < 0.965


@pytest.mark.parametrize(("scans", "least"), [((20, 1, 1), 0.9), ((20, *[1] * 5), 0.85), ((5, 1, 3, 2, 8, 1), 0.9)])
def test_a_person_with_many_scans_does_not_make_it_narrow(scans, least):
    """The sum of deviations from a mean that this person pulls to itself would cover the first two in 42 and 38 %."""
    random, covered = np.random.RandomState(0), 0
    subjects = np.repeat(np.arange(len(scans)).astype(str), scans).tolist()
    for _ in range(1000):
        values = np.repeat(random.normal(0, 1, len(scans)), scans)
        low, high = interval_of_mean(values, subjects)
        covered += low <= 0 <= high
    assert least < covered / 1000 < 0.98
