"""Persons and trainings are the units of a comparison."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp, wilcoxon
from statsmodels.formula.api import mixedlm
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from attention_unet.errors import ConfigError
from attention_unet.evaluation.compare import compare as compare_models
from attention_unet.evaluation.significance import analyse_gains, gain_of_trainings
from tests.evaluation.build import compare, levels, noise, rows


def grouped(values, field, size):
    """Return rows of which each ``size`` in turn share the value of a field."""
    return [replace(row, **{field: str(i // size)}) for i, row in enumerate(rows(values))]


def test_persons_are_the_units_not_their_cases():
    base = levels()
    of_head = np.repeat(np.random.RandomState(3).normal(0.001, 0.004, 21), 2)

    (single,) = compare({"A": rows(base), "B": rows(base + of_head)}, "dice")
    (found,) = compare({"A": grouped(base, "subject", 2), "B": grouped(base + of_head, "subject", 2)}, "dice")
    low, high = found.test.ci95
    half = t.ppf(0.975, 20) * of_head[::2].std(ddof=1) / np.sqrt(21)
    assert (low, high) == pytest.approx((of_head.mean() - half, of_head.mean() + half))
    assert high - low > 1.4 * (single.test.ci95[1] - single.test.ci95[0]) * 0.95
    assert found.test.p == pytest.approx(wilcoxon(np.round(of_head[::2], 9)).pvalue)


def test_several_trainings_of_each():
    """One lucky seed is not a better method; a gain in each of six trainings is."""
    base, rng = levels(n=40), np.random.RandomState(5)

    def runs(gains):
        return [rows(base + gain + rng.normal(0, 0.003, 40)) for gain in gains]

    lucky = compare_models({"A": runs([0, 0]), "B": runs([0.02, -0.012])}, "dice")[0]
    assert lucky.test.trainings == 2
    assert not lucky.significant
    alone = compare({"A": runs([0])[0], "B": runs([0.02])[0]}, "dice")[0]
    assert alone.significant  # of these two networks
    real = compare_models({"A": runs([0] * 3), "B": runs([0.01, 0.011, 0.009])}, "dice")[0]
    assert str(real).startswith("B is better than A in dice on a by 0.0")
    assert ", n = 40, 3 trainings each, corrected p = " in str(real)
    with pytest.raises(ConfigError, match=r"different numbers of runs \(A 1, B 2\)"):
        compare_models({"A": runs([0]), "B": runs([0, 0])}, "dice")


def test_the_same_gain_in_all_folds_is_no_sample():
    base = levels(n=4)
    (found,) = compare({"A": grouped(base, "fold", 2), "B": grouped(base + 2**-7, "fold", 2)}, "dice")
    assert found.test.p == 1
    assert not found.significant


def test_the_folds_of_a_cross_validation_are_the_units():
    base, gains = levels(n=40), np.array([0.004, 0.006, 0.005, 0.003, 0.007])
    ours, theirs = grouped(base, "fold", 8), grouped(base + np.repeat(gains, 8), "fold", 8)
    (found,) = compare({"A": ours, "B": theirs}, "dice")
    half = t.ppf(0.975, 4) * gains.std(ddof=1) / np.sqrt(5)
    assert (found.test.trainings, found.test.gain) == (5, pytest.approx(0.005))
    assert found.test.ci95 == pytest.approx((0.005 - half, 0.005 + half))
    assert found.test.p == pytest.approx(ttest_1samp(gains, 0).pvalue)
    twice = compare_models({"A": [ours] * 2, "B": [theirs] * 2}, "dice")[0]
    expected = (10, pytest.approx(found.test.ci95), pytest.approx(found.test.p))
    assert (twice.test.trainings, twice.test.ci95, twice.test.p) == expected


def test_a_class_of_a_single_fold_is_no_test_of_methods():
    """In the other folds it is in no mask. Over its persons, the difference would be one of two networks."""
    base = np.where(np.arange(40) < 8, levels(n=40), np.nan)
    models = {name: grouped(base + gain, "fold", 8) for name, gain in (("A", 0), ("B", 0.01 + noise(40)))}
    (found,) = compare(models, "dice")
    assert (len(found.gains), found.test.p, found.significant) == (8, 1, False)
    assert str(found).startswith("too few trainings (expected two folds or three runs) or persons for a verdict on B")
    (alone,) = compare({name: rows[:8] for name, rows in models.items()}, "dice")  # a single training
    assert alone.significant


@pytest.mark.parametrize("seed", range(3))
def test_runs_of_one_fold_are_compared_as_by_a_mixed_model(seed):
    """If no component of variance is estimated as zero, both are exact."""
    random = np.random.RandomState(seed)
    of_persons, of_runs = random.normal(0, 0.006, (1, 12)), random.normal(0, 0.004, (4, 1))
    block = 0.004 + of_persons + of_runs + random.normal(0, 0.003, (4, 12))
    table = {"gain": 100 * block.ravel(), "person": np.tile(range(12), 4), "run": np.repeat(range(4), 12), "all": 0}
    components = {"person": "0 + C(person)", "run": "0 + C(run)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # small components
        judge = mixedlm("gain ~ 1", pd.DataFrame(table), groups="all", vc_formula=components).fit()
    gain, error, freedom = gain_of_trainings([block])
    assert judge.vcomp.min() > 0.001
    assert (gain, error) == pytest.approx(
        (judge.fe_params["Intercept"] / 100, judge.bse_fe["Intercept"] / 100), rel=1e-4
    )
    assert 3 < freedom < 33  # between those of the runs and of the residuals


@pytest.mark.parametrize(("folds", "runs"), [(1, 3), (3, 2), (5, 3)])
@pytest.mark.parametrize("of_a_fold", [0.0, 0.003])
def test_intervals_hold_what_is_promised(folds, runs, of_a_fold):
    """Of a gain that varies between persons, runs and, if there are several, folds."""
    random = np.random.RandomState(0)
    covered = 0
    for _ in range(400):
        blocks = [
            random.normal(0, of_a_fold * (folds > 1))
            + random.normal(0, 0.003, (1, 12))
            + random.normal(0, 0.001, (runs, 1))
            + random.normal(0, 0.005, (runs, 12))
            for _ in range(folds)
        ]
        gain, error, freedom = gain_of_trainings(blocks)
        covered += abs(gain) < t.ppf(0.975, freedom) * error
    assert 0.92 * 400 <= covered <= 0.99 * 400


def test_persons_are_the_units_also_of_several_trainings():
    """Ten persons with four scans each: no true difference, but the gains of one person are correlated."""
    wrong = 0
    for seed in range(60):
        rng = np.random.RandomState(seed)
        together = np.repeat(rng.normal(0, 0.01, 10), 4)

        def run(gain, rng=rng):
            values = levels(n=40) + gain + rng.normal(0, 0.002, 40)
            return grouped(values, "subject", 4)

        (found,) = compare_models({"A": [run(0) for _ in range(3)], "B": [run(together) for _ in range(3)]}, "dice")
        wrong += found.significant
    assert wrong <= 8


def test_subjects_count_whichever_model_names_them():
    base = levels(n=12)
    gain = np.repeat([0.01, 0.012, -0.002], 4)
    ours, theirs = grouped(base, "subject", 4), grouped(base + gain, "subject", 4)
    both = compare({"A": ours, "B": theirs}, "dice")
    assert compare({"A": ours, "B": rows(base + gain)}, "dice") == both
    assert compare({"A": rows(base), "B": theirs}, "dice") == both


def test_runs_of_different_folds_are_not_paired_by_fold(caplog):
    base = levels(n=40)
    (found,) = compare({"A": grouped(base, "fold", 8), "B": rows(base + 0.01)}, "dice")
    assert found.test.trainings == 1
    assert "the runs have different folds: each counts as one training" in caplog.text
    assert "verdicts are on these networks, not on methods" in caplog.text


def test_runs_that_vary_less_than_the_rest_do_not_make_it_smaller():
    residuals = np.random.RandomState(0).normal(0, 0.01, (3, 5))
    residuals -= residuals.mean(axis=0)
    residuals -= residuals.mean(axis=1, keepdims=True)
    _, error, _ = gain_of_trainings([0.004 + residuals])
    assert error == pytest.approx(np.sqrt((residuals**2).sum() / (2 * 4) / 15))


def test_the_gain_of_too_few_trainings_for_a_test_is_over_persons_too():
    gains = np.array([[0.1, 0.1, 0.0], [0.1, 0.1, 0.0]])  # two scans of one person, one of another
    test = analyse_gains(gains, ["p1", "p1", "p2"], ["0"] * 3)
    assert (test.gain, test.p) == (pytest.approx(0.05), 1)
