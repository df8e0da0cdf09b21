"""The gain of an arm over another, from pairs of trainings with the same fold and seed."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from attention_unet.evaluation.significance import Gains, gain_of_trainings
from attention_unet.study.design import Cell, Study

Dice = Mapping[Cell, Mapping[str, float]]  # mean over classes, by training and person


@dataclass(frozen=True)
class Gain:
    """The gain to expect of a new training on a new person.

    Attributes:
        mean: mean over folds, trainings and persons; NaN without results.
        error: its standard error; NaN with a single pair of trainings.
        freedom: degrees of freedom of the error.
        by_pair: gain of each held-out person, by seed and fold of the pair of trainings.
        missing: number of pairs of trainings without results.
    """

    mean: float
    error: float
    freedom: float
    by_pair: Mapping[tuple[int, int], Gains]
    missing: int

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval of the mean; NaN with a single pair of trainings."""
        half = float(t.ppf(0.5 + level / 2, self.freedom)) * self.error if self.freedom > 0 else math.nan
        return self.mean - half, self.mean + half

    def pair_means(self) -> list[float]:
        """Return the mean gain of each pair of trainings."""
        return [float(gains.mean()) for gains in self.by_pair.values()]

    def by_fold(self) -> list[Gains]:
        """Return the gains of each fold (seeds, persons)."""
        folds = dict.fromkeys(fold for _, fold in self.by_pair)
        return [np.stack([gains for key, gains in self.by_pair.items() if key[1] == fold]) for fold in folds]

    def folds_needed(self, margin: float) -> int | None:
        """Return how many folds would narrow the 95 % interval to the margin on each side; None with a single fold."""
        folds = len(self.by_fold())
        if folds < 2 or math.isnan(self.error):
            return None
        ratio = self.error * math.sqrt(folds) / margin
        least = max(int((1.96 * ratio) ** 2), 2)  # Student's t is above 1.96
        return next(n for n in itertools.count(least) if t.ppf(0.975, n - 1) * ratio <= math.sqrt(n))


def gain_between(study: Study, arm: str, against: str, size: int | None, dice: Dice) -> Gain:
    """Return the gain of an arm over another.

    Args:
        study: the study.
        arm: name of the arm.
        against: name of the other.
        size: number of persons trained on; None for all.
        dice: results of the trainings that are finished.
    """
    seeds = study.common_seeds(arm, against)
    by_pair: dict[tuple[int, int], Gains] = {}
    for fold in study.folds:
        for seed in seeds:
            ours, theirs = (dice.get(Cell(name, size, seed, fold)) for name in (arm, against))
            if ours and theirs:
                by_pair[seed, fold] = np.array([ours[person] - theirs[person] for person in ours])
    found = Gain(math.nan, math.nan, 0.0, by_pair, len(seeds) * len(study.folds) - len(by_pair))
    folds = found.by_fold()
    if len(folds) > 1 or (folds and min(folds[0].shape) > 1):
        return Gain(*gain_of_trainings(folds), by_pair, found.missing)
    if folds:
        return Gain(float(folds[0].mean()), math.nan, 0.0, by_pair, found.missing)
    return found
