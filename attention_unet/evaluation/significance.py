"""Test whether two models differ. The test depends on the number of trainings.

- One training of each model: interval and test are over persons. They compare two networks, not two methods: another
  seed may reverse the result. The test is Wilcoxon's signed-rank test ("Individual Comparisons by Ranking Methods",
  1945); an infinite gain has the largest rank.
- Several folds: each fold gives one difference, the mean over its runs; Student's t over the folds. Any variation
  between folds, of persons, runs and training sets, is in the interval.
- One fold, three runs or more: analysis of variance with crossed random effects of persons and runs; degrees of
  freedom by Satterthwaite ("An Approximate Distribution of Estimates of Variance Components", 1946).

Several p values are corrected by Holm ("A Simple Sequentially Rejective Multiple Test Procedure", 1979).
"""

import math
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t, wilcoxon

from attention_unet.evaluation.interval import interval_of_mean

LEVEL = 0.05  # significance level
EXACT_UP_TO = 16  # with at most so many differing persons, all combinations of their signs are tried
FEWEST_RUNS = 3  # on a single fold: two say too little about the variance of runs
DIGITS = 9  # gains are rounded, because equal gains may differ by floating-point error
Gains = NDArray[np.float64]


class GainTest(NamedTuple):
    """Test whether a model is better than another.

    Attributes:
        gain: mean over the cases; with several trainings, mean over the folds of the mean over the persons. NaN if the
            gain of a case is not finite.
        ci95: 95% interval of the mean; NaN if it cannot be computed.
        p: probability of a difference at least as large, if the models were equal; 1 if it cannot be computed.
        least_p: smallest ``p`` that is possible with so few persons or trainings.
        trainings: number of trainings of each model with a gain: folds times runs.
        persons: number of persons with a gain.
        of_methods: whether the test is over trainings, and so about two methods; otherwise about two networks.
        side: above 0 if the model is better, below if it is worse: ``gain``, or the sum of the signed ranks if that is
            NaN. 0 if they have different signs: a few large gains against many small losses, or the reverse.
    """

    gain: float
    ci95: tuple[float, float]
    p: float
    least_p: float
    trainings: int
    persons: int
    of_methods: bool
    side: float


def analyse_gains(gains: Gains, subjects: Sequence[str], folds: Sequence[str]) -> GainTest:
    """Test whether a model is better than another.

    Gains (runs, cases) are NaN if undefined, infinite if one model misses the structure. Cases without a gain are left
    out. ``subjects`` and ``folds`` have one name for each case. There is one training for each run and fold.
    """
    of_methods = len(gains) * len(set(folds)) > 1
    known = np.any(~np.isnan(gains), axis=0)
    gains, subjects, folds = gains[:, known], list(compress(subjects, known)), list(compress(folds, known))
    names = list(dict.fromkeys(folds))
    counts = len(gains) * len(names), len(set(subjects)), of_methods
    finite = bool(np.isfinite(gains).all())
    gain = float(gains.mean()) if finite else math.nan
    if not of_methods:
        persons = _subject_means(gains[0], subjects)
        ci95 = interval_of_mean(gains[0], subjects) if finite else (math.nan, math.nan)
        ranked = _bound(persons[persons != 0])
        ranks = float((np.sign(ranked) * rankdata(np.abs(ranked))).sum())
        side = 0.0 if gain * ranks < 0 else gain if finite else ranks
        return GainTest(gain, ci95, _wilcoxon(ranked), 0.5 ** max(len(ranked) - 1, 0), *counts, side)
    blocks = []
    for name in names:
        cases = [index for index, fold in enumerate(folds) if fold == name]
        case_subjects = [subjects[index] for index in cases]
        blocks.append(np.stack([_subject_means(run[cases], case_subjects) for run in gains]))
    if not finite or not is_testable(blocks):
        gain = float(np.mean([block.mean() for block in blocks])) if finite else math.nan
        return GainTest(gain, (math.nan, math.nan), 1.0, 1.0, *counts, gain)
    gain, error, freedom = gain_of_trainings(blocks)
    half = float(t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * t.sf(abs(gain) / error, freedom)) if error else 1.0  # equal in all folds: no sample
    return GainTest(gain, (gain - half, gain + half), p, 0.0, *counts, gain)


def is_testable(blocks: Sequence[Gains]) -> bool:
    """Return whether there are several folds, or one with enough runs and persons for ``gain_of_trainings``."""
    return len(blocks) > 1 or (len(blocks) == 1 and len(blocks[0]) >= FEWEST_RUNS and blocks[0].shape[1] > 1)


def gain_of_trainings(blocks: Sequence[Gains]) -> tuple[float, float, float]:
    """Return the mean gain of a method over its trainings, its standard error and degrees of freedom.

    ``blocks`` has, for each fold, the gain of each run in each person (runs, persons); see ``is_testable``.
    """
    gain = float(np.mean([block.mean() for block in blocks]))
    if len(blocks) > 1:  # each fold is one difference
        error = float(np.std([block.mean() for block in blocks], ddof=1)) / math.sqrt(len(blocks))
        return gain, _or_zero(error), len(blocks) - 1
    [block] = blocks
    runs, persons = block.shape
    of_persons = float(runs * block.mean(axis=0).var(ddof=1))  # mean squares
    of_runs = float(persons * block.mean(axis=1).var(ddof=1))
    residuals = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
    rest = float((residuals**2).sum() / (runs - 1) / (persons - 1))
    variance = (max(of_persons - rest, 0) + max(of_runs - rest, 0) + rest) / block.size
    spread = (of_persons**2 / (persons - 1) + of_runs**2 / (runs - 1)) / block.size**2
    spread += (rest / block.size) ** 2 / (runs - 1) / (persons - 1)
    return gain, _or_zero(math.sqrt(variance)), variance**2 / spread if spread else math.inf


def _or_zero(error: float) -> float:
    return error if error > 10.0**-DIGITS else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number, step by step from the smallest."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min((len(p_values) - rank) * p_values[index], 1.0))
        corrected[index] = highest
    return corrected


def _subject_means(gains: Gains, subjects: Sequence[str]) -> Gains:
    """Return the mean gain of each subject, rounded."""
    by_subject: dict[str, list[float]] = {}
    for gain, subject in zip(gains.tolist(), subjects, strict=True):
        by_subject.setdefault(subject, []).append(gain)
    with np.errstate(invalid="ignore"):
        means = np.array([np.mean(each) for each in by_subject.values()])
    return np.round(np.nan_to_num(means, nan=0.0, posinf=np.inf, neginf=-np.inf), DIGITS)


def _bound(gains: Gains) -> Gains:
    """Bound infinite gains so that they have the largest rank."""
    largest = np.abs(gains[np.isfinite(gains)]).max(initial=0.0)
    return np.clip(gains, -largest - 1, largest + 1)


def _wilcoxon(ranked: Gains) -> float:
    """Return the p value of Wilcoxon's test over the differing persons; exact up to 16 of them, even with ties."""
    if len(ranked) > EXACT_UP_TO:
        return float(wilcoxon(ranked).pvalue)
    ranks = rankdata(np.abs(ranked))  # scipy's own exact test with ties takes many seconds
    signs = 1 - 2 * (np.arange(2 ** len(ranked))[:, None] >> np.arange(len(ranked)) & 1)
    return float((np.abs(signs @ ranks) >= abs(np.sign(ranked) @ ranks)).mean())
