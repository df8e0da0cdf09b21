"""The gain of an arm over another, from pairs of trainings with the same fold and seed."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from attention_unet.evaluation.significance import Gains, gain_of_trainings, is_testable
from attention_unet.study.design import Cell, Study
from attention_unet.study.finished import Results
from attention_unet.study.scores import Score, of_predictions, person_dice, without_absent

PersonDice = Mapping[str, float]  # mean over classes, by person


@dataclass(frozen=True)
class Gain:
    """The gain to expect of a new training on a new person.

    Attributes:
        mean: mean over folds, trainings and persons; NaN without results.
        error: its standard error; NaN with too few trainings.
        freedom: degrees of freedom of the error; 0 with too few trainings.
        by_pair: gain of each held-out person, by seed and fold of the pair of trainings.
        missing: number of pairs of trainings without results.
    """

    mean: float
    error: float
    freedom: float
    by_pair: Mapping[tuple[int, int], Gains]
    missing: int

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval of the mean; NaN with too few trainings."""
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
        """Return how many folds, each with new persons, would narrow the 95 % interval to the margin on each side.

        None with a single fold, or if it is that narrow.
        """
        folds = len(self.by_fold())
        if folds < 2 or math.isnan(self.error):
            return None
        ratio = self.error * math.sqrt(folds) / margin
        least = max(int((1.96 * ratio) ** 2), 2)  # Student's t is above 1.96
        needed = next(n for n in itertools.count(least) if t.ppf(0.975, n - 1) * ratio <= math.sqrt(n))
        return needed if needed > folds else None


def mean_gain(
    study: Study,
    arm: str,
    against: str,
    persons: int | None,
    results: Results,
    dice: Callable[[Cell, Sequence[Score]], PersonDice] = lambda _, scores: person_dice(of_predictions(scores)),
) -> Gain:
    """Return the gain of an arm over another.

    Structures that are absent from the reference and that no training of both arms predicts are left out.

    Args:
        study: the study.
        arm: name of the arm.
        against: name of the other.
        persons: number of persons trained on; None for all.
        results: scores of the trainings that are finished.
        dice: what is compared, from the scores of a training. Default: Dice of the prediction after the last step.
    """
    seeds = study.common_seeds(arm, against)
    by_pair: dict[tuple[int, int], Gains] = {}
    missing = 0
    for fold in study.folds:
        cells = [Cell(name, persons, seed, fold) for seed in seeds for name in (arm, against)]
        known = without_absent({cell: results[cell] for cell in cells if cell in results})
        for seed in seeds:
            pair = [cell for cell in cells if cell.seed == seed and cell in known]
            ours, theirs = (dice(cell, known[cell]) for cell in pair) if len(pair) == 2 else ({}, {})
            missing += len(pair) < 2
            if ours and theirs:
                by_pair[seed, fold] = np.array([ours[person] - theirs[person] for person in ours])
    found = Gain(math.nan, math.nan, 0.0, by_pair, missing)
    folds = found.by_fold()
    if is_testable(folds):
        return Gain(*gain_of_trainings(folds), by_pair, missing)
    if folds:
        return Gain(float(folds[0].mean()), math.nan, 0.0, by_pair, missing)
    return found
