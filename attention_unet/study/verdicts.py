"""What a study says about its hypotheses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from attention_unet.errors import plural
from attention_unet.evaluation.significance import LEVEL, Gains, gain_of_trainings, holm
from attention_unet.study.cells import Score
from attention_unet.study.design import Cell, Hypothesis, Study

Results = Mapping[Cell, Sequence[Score]]
TYPICAL_SD = 0.0015  # of the gain between pairs of trainings of 5 to 15 minutes, 42 hippocampi held out in each


@dataclass(frozen=True)
class Verdict:
    """The gain of an arm over another, for a new training on a new person.

    Attributes:
        claim: the hypothesis.
        size: number of persons trained on; None for all.
        gain: mean gain of Dice over folds, trainings and persons; NaN if there are no results.
        error: its standard error; NaN with a single pair of trainings.
        freedom: degrees of freedom of the error.
        blocks: mean gain of each pair of trainings, by seed and fold.
        missing: number of pairs of trainings that have no results yet.
        p: p value of the claim, by itself.
        p_holm: the same, corrected for the number of hypotheses.
        margin: margin of equivalence.
    """

    claim: Hypothesis
    size: int | None
    gain: float
    error: float
    freedom: float
    blocks: Mapping[tuple[int, int], float]
    missing: int
    margin: float
    p: float
    p_holm: float = 1.0

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval of the gain; NaN with a single pair of trainings."""
        half = float(t.ppf(0.5 + level / 2, self.freedom)) * self.error if self.freedom > 0 else math.nan
        return self.gain - half, self.gain + half

    @property
    def holds(self) -> bool:
        """Whether the claim is shown, by the corrected test."""
        return self.p_holm < LEVEL and (self.claim.expect == "equivalent" or self.gain > 0)

    @property
    def word(self) -> str:
        """The verdict: "better", "worse", "equivalent", "not decided" or "no result"."""
        if math.isnan(self.gain):
            return "no result"
        if self.claim.expect == "equivalent":
            return "equivalent" if self.holds else "not decided"
        return "not decided" if self.p_holm >= LEVEL else "better" if self.gain > 0 else "worse"

    def __str__(self) -> str:
        """Return the verdict as a sentence, with its interval and the number of trainings."""
        arm, against, m = self.claim.arm, self.claim.against, f"{self.margin:g}"
        trained = f", trained on {self.size} persons" if self.size else ""
        if self.word == "no result":
            return f"{arm} against {against}{trained}: no result yet."
        pairs = f"{plural(len(self.blocks), 'training')} each"
        if self.freedom <= 0:
            return (
                f"{arm} against {against}{trained}: {self.gain:+.4f} in one training each: another may say otherwise."
            )
        low, high = self.interval(0.95)
        size = f"{self.gain:+.4f} (95 % {low:+.4f} to {high:+.4f}, {pairs})"
        if self.word == "equivalent":
            low, high = self.interval(0.9)
            size = f"{self.gain:+.4f} (90 % {low:+.4f} to {high:+.4f}, {pairs})"
            return (
                f"{arm} and {against}{trained} are equivalent within {m}: {size}. "
                f"A gain above {max(high, 0):.4f} is excluded."
            )
        if self.word == "not decided":
            return f"{arm} against {against}{trained}: not decided: {size}. {self._would_decide()}"
        beyond = min(abs(low), abs(high))
        matters = "more than" if beyond > self.margin else "perhaps less than"
        if max(abs(low), abs(high)) < self.margin:
            matters = "but less than"
        return f"{arm} is {self.word} than {against}{trained}: {size}, {matters} the margin of {m}."

    def _would_decide(self) -> str:
        """Return how many more trainings would be needed for an interval of the width of the margin."""
        trainings = len(self.blocks)
        for more in range(1, 1000):
            error = self.error * math.sqrt(trainings / (trainings + more))
            if float(t.ppf(0.975, self.freedom + more)) * error < self.margin:
                return f"About {plural(more, 'more training')} of each would tell a difference of {self.margin:g}."
        return f"No reasonable number of trainings would tell a difference of {self.margin:g}."


def expected_half_width(pairs: int) -> float:
    """Return half the width of the 95 % interval of a gain to expect from pairs of trainings; infinite for one pair."""
    return float(t.ppf(0.975, pairs - 1)) * TYPICAL_SD / math.sqrt(pairs) if pairs > 1 else math.inf


def judge(study: Study, results: Results) -> list[Verdict]:
    """Return the verdict on each hypothesis and size. P values are corrected by Holm for their number.

    The gain of a person is the mean over their cases of the mean over classes of Dice after the last step. Pairs of
    trainings have the same fold and seed.
    """
    verdicts = [_compare(study, claim, size, results) for claim in study.hypotheses for size in study.sizes]
    corrected = holm([verdict.p for verdict in verdicts])
    return [replace(verdict, p_holm=p) for verdict, p in zip(verdicts, corrected, strict=True)]


def _compare(study: Study, claim: Hypothesis, size: int | None, results: Results) -> Verdict:
    seeds = study.common_seeds(claim)
    gains: dict[tuple[int, int], Gains] = {}
    for fold in study.folds:
        for seed in seeds:
            arm, other = (results.get(Cell(name, size, seed, fold)) for name in (claim.arm, claim.against))
            if arm and other:
                ours, theirs = person_dice(arm), person_dice(other)
                gains[seed, fold] = np.array([ours[person] - theirs[person] for person in ours])
    missing = len(seeds) * len(study.folds) - len(gains)
    blocks = {key: float(values.mean()) for key, values in gains.items()}
    gain = error = math.nan
    freedom, p = 0.0, 1.0
    complete = [fold for fold in study.folds if all((seed, fold) in gains for seed in seeds)]
    if blocks:
        gain = float(np.mean(list(blocks.values())))
    if len(complete) * len(seeds) > 1:
        gain, error, freedom = gain_of_trainings([np.stack([gains[s, fold] for s in seeds]) for fold in complete])
        p = _p_value(claim, gain, error, freedom, study.margin)
    return Verdict(claim, size, gain, error, freedom, blocks, missing, study.margin, p)


def _p_value(claim: Hypothesis, gain: float, error: float, freedom: float, margin: float) -> float:
    """Return the p value of a claim: two-sided for a difference; by two one-sided tests for equivalence."""
    distance = abs(gain) if claim.expect == "better" else margin - abs(gain)
    if error == 0:
        return float(distance <= 0)
    return float((2 if claim.expect == "better" else 1) * t.sf(distance / error, freedom))


def person_dice(scores: Sequence[Score]) -> dict[str, float]:
    """Return the mean Dice of each person after the last step, over classes and cases.

    Where reference and prediction are both empty, Dice counts as 1, so that arms are compared on the same classes.
    """
    last = max(score.step for score in scores)
    values: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        if score.step == last:
            dice = 1.0 if math.isnan(score.dice) else score.dice
            values.setdefault(score.subject, {}).setdefault(score.case, []).append(dice)
    return {
        person: float(np.mean([np.mean(dice) for dice in cases.values()])) for person, cases in sorted(values.items())
    }
