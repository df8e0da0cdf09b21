"""Persons and trainings are the units of a comparison."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, wilcoxon

from attention_unet.errors import ConfigError
from attention_unet.evaluation.compare import compare as compare_models
from attention_unet.evaluation.significance import gain_of_trainings
from tests.evaluation.build import compare, levels, rows


def test_persons_are_the_units_not_their_cases():
    base = levels()
    of_head = np.repeat(np.random.RandomState(3).normal(0.001, 0.004, 21), 2)

    def paired(values):
        return [replace(row, subject=f"head{i // 2}") for i, row in enumerate(rows(values))]

    (single,) = compare({"A": rows(base), "B": rows(base + of_head)}, "dice")
    (found,) = compare({"A": paired(base), "B": paired(base + of_head)}, "dice")
    low, high = found.ci95
    half = t.ppf(0.975, 20) * of_head[::2].std(ddof=1) / np.sqrt(21)
    assert (low, high) == pytest.approx((of_head.mean() - half, of_head.mean() + half))
    assert high - low > 1.4 * (single.ci95[1] - single.ci95[0]) * 0.95
    assert found.p == pytest.approx(wilcoxon(np.round(of_head[::2], 9)).pvalue)


def test_several_trainings_of_each():
    """One lucky seed is not a better method; a gain in each of six trainings is."""
    base, rng = levels(n=40), np.random.RandomState(5)

    def runs(gains):
        return [rows(base + gain + rng.normal(0, 0.003, 40)) for gain in gains]

    lucky = compare_models({"A": runs([0, 0]), "B": runs([0.02, -0.012])}, "dice")[0]
    assert lucky.trainings == 2
    assert not lucky.significant
    alone = compare({"A": runs([0])[0], "B": runs([0.02])[0]}, "dice")[0]
    assert alone.significant  # of these two networks
    real = compare_models({"A": runs([0] * 3), "B": runs([0.01, 0.011, 0.009])}, "dice")[0]
    assert str(real).startswith("B is better than A in dice on a by 0.0")
    assert ", n = 40, 3 trainings each, corrected p = " in str(real)
    with pytest.raises(ConfigError, match=r"different numbers of runs \(A 1, B 2\)"):
        compare_models({"A": runs([0]), "B": runs([0, 0])}, "dice")


def test_the_folds_of_a_cross_validation_are_the_units():
    base, gains = levels(n=40), np.array([0.004, 0.006, 0.005, 0.003, 0.007])

    def folds(values):
        return [replace(row, fold=str(i // 8)) for i, row in enumerate(rows(values))]

    (found,) = compare({"A": folds(base), "B": folds(base + np.repeat(gains, 8))}, "dice")
    half = t.ppf(0.975, 4) * gains.std(ddof=1) / np.sqrt(5)
    assert (found.trainings, found.gain) == (5, pytest.approx(0.005))
    assert found.ci95 == pytest.approx((0.005 - half, 0.005 + half))
    assert found.p == pytest.approx(ttest_1samp(gains, 0).pvalue)


def test_components_of_variance_are_those_of_a_mixed_model():
    """Judged by the known variances of simulated trainings, over many simulations."""
    rng = np.random.RandomState(0)
    spreads = []
    errors = []
    for _ in range(300):
        blocks = [
            rng.normal(0, 0.006, (1, 20)) + rng.normal(0, 0.004, (3, 1)) + rng.normal(0, 0.005, (3, 20))
            for _ in range(5)
        ]
        gain, error, freedom = gain_of_trainings(blocks)
        spreads.append(gain)
        errors.append(error**2)
        assert 2 < freedom < 400
    true = (0.006**2 / 20 + 0.004**2 / 3 + 0.005**2 / 60) / 5
    assert np.mean(errors) == pytest.approx(true, rel=0.1)
    assert np.var(spreads) == pytest.approx(true, rel=0.2)


def test_persons_are_the_units_also_of_several_trainings():
    """Ten persons with four scans each: no true difference, but the gains of one person are correlated."""
    wrong = 0
    for seed in range(60):
        rng = np.random.RandomState(seed)
        together = np.repeat(rng.normal(0, 0.01, 10), 4)

        def run(gain, rng=rng):
            values = levels(n=40) + gain + rng.normal(0, 0.002, 40)
            return [replace(row, subject=f"p{i // 4}") for i, row in enumerate(rows(values))]

        (found,) = compare_models({"A": [run(0) for _ in range(3)], "B": [run(together) for _ in range(3)]}, "dice")
        wrong += found.significant
    assert wrong <= 8


def test_subjects_count_whichever_model_names_them():
    base = levels(n=12)
    gain = np.repeat([0.01, 0.012, -0.002], 4)

    def named(values):
        return [replace(row, subject=f"p{i // 4}") for i, row in enumerate(rows(values))]

    both = compare({"A": named(base), "B": named(base + gain)}, "dice")
    assert compare({"A": named(base), "B": rows(base + gain)}, "dice") == both
    assert compare({"A": rows(base), "B": named(base + gain)}, "dice") == both


def test_runs_of_different_folds_are_not_paired_by_fold(caplog):
    base = levels(n=40)
    folds = [replace(row, fold=str(i // 8)) for i, row in enumerate(rows(base))]
    (found,) = compare({"A": folds, "B": rows(base + 0.01)}, "dice")
    assert found.trainings == 1
    assert "the runs have different folds: each counts as one training" in caplog.text
