"""The gain of an arm over another, from pairs of trainings with the same fold and seed."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from attention_unet.evaluation.significance import Gains, gain_of_trainings, is_testable
from attention_unet.study.design import Cell, Study
from attention_unet.study.finished import Results
from attention_unet.study.scores import NOT_FOUND, Score, dice_where_present, final_dice, without_absent

DiceOf = Callable[[Sequence[Score]], Mapping[str, float]]  # Dice by person, from the scores of a training


@dataclass(frozen=True)
class Gain:
    """The gain to expect of a new training on a new person."""

    mean: float  # over folds, trainings and persons; NaN without results
    error: float  # standard error of the mean; NaN with too few trainings
    freedom: float  # degrees of freedom of the error; 0 with too few trainings
    by_pair: Mapping[tuple[int, int], Gains]  # gain of each held-out person, by seed and fold of the pair of trainings
    missing: int  # number of pairs of trainings without results

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval of the mean; NaN with too few trainings."""
        half = float(t.ppf(0.5 + level / 2, self.freedom)) * self.error if self.freedom > 0 else math.nan
        return self.mean - half, self.mean + half

    def widened(self, folds: int) -> "Gain":
        """Return the gain with a larger error, because the training sets of so many folds share cases.

        Nadeau and Bengio, "Inference for the Generalization Error", 2003. It is the same with a single fold.
        """
        done = len(self.by_fold())
        return replace(self, error=self.error * math.sqrt(1 + done / (folds - 1))) if done > 1 else self

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


@dataclass(frozen=True)
class Pairs:
    """Pairs of trainings of two arms, with the same fold and seed.

    Attributes:
        scores: scores of the arm and of the other, by seed and fold, without the structures that are absent from the
            reference and that no training of both arms predicts.
        missing: number of pairs without results.
    """

    scores: Mapping[tuple[int, int], tuple[Sequence[Score], Sequence[Score]]]
    missing: int

    def find_any(self) -> bool:
        """Return whether one of the arms finds a structure. Arms that learned nothing are alike."""
        by_arm = (dice_where_present(s for both in self.scores.values() for s in both[arm]) for arm in (0, 1))
        return any(dice >= NOT_FOUND for by_class in by_arm for dice in by_class.values())

    def gain(self, ours: DiceOf = final_dice, theirs: DiceOf = final_dice) -> Gain:
        """Return the gain of the arm over the other. The arguments return what is compared, from the scores of each."""
        by_pair: dict[tuple[int, int], Gains] = {}
        for key, (scores, other_scores) in self.scores.items():
            dice, other = ours(scores), theirs(other_scores)
            if dice and other:
                by_pair[key] = np.array([dice[person] - other[person] for person in dice])
        found = Gain(math.nan, math.nan, 0.0, by_pair, self.missing)
        folds = found.by_fold()
        if is_testable(folds):
            return Gain(*gain_of_trainings(folds), by_pair, self.missing)
        return replace(found, mean=float(folds[0].mean())) if folds else found


def find_pairs(study: Study, results: Results, arm: str, against: str, persons: int | None) -> Pairs:
    """Find the pairs of finished trainings of two arms, trained on so many persons (None: all)."""
    pairs: dict[tuple[int, int], tuple[Sequence[Score], Sequence[Score]]] = {}
    seeds = study.common_seeds(arm, against)
    for fold in study.folds:
        cells = [Cell(name, persons, seed, fold) for seed in seeds for name in (arm, against)]
        known = without_absent({cell: results[cell] for cell in cells if cell in results})
        for seed in seeds:
            both = [known[cell] for cell in cells if cell.seed == seed and cell in known]
            if len(both) == 2:
                pairs[seed, fold] = both[0], both[1]
    return Pairs(pairs, len(seeds) * len(study.folds) - len(pairs))
