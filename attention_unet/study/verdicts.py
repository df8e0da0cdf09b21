"""What a study says about its hypotheses."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from attention_unet.errors import plural
from attention_unet.evaluation.significance import LEVEL, Gains, gain_of_trainings, holm
from attention_unet.study.design import Cell, Hypothesis, Study
from attention_unet.study.scores import Score

Results = Mapping[Cell, Sequence[Score]]
ASSUMED_SD = 0.0015  # of the gain between pairs of trainings; see docs/study.md


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
        """The verdict: "better", "worse", "equivalent", "not equivalent", "not decided" or "no result"."""
        if math.isnan(self.gain):
            return "no result"
        if self.claim.expect == "equivalent":
            low, high = self.interval(1 - LEVEL)
            outside = low > self.margin or high < -self.margin
            return "equivalent" if self.holds else "not equivalent" if outside else "not decided"
        return "not decided" if self.p_holm >= LEVEL else "better" if self.gain > 0 else "worse"

    @property
    def folds_needed(self) -> int | None:
        """Number of folds that would narrow the 95 % interval to the margin on each side; None with a single fold."""
        folds = len({fold for _, fold in self.blocks})
        if folds < 2 or math.isnan(self.error):
            return None
        ratio = self.error * math.sqrt(folds) / self.margin
        least = max(int((1.96 * ratio) ** 2), 2)  # Student's t is above 1.96
        return next(n for n in itertools.count(least) if t.ppf(0.975, n - 1) * ratio <= math.sqrt(n))

    def __str__(self) -> str:
        """Return the verdict as a sentence, with its interval and the number of trainings."""
        arm, against, m = self.claim.arm, self.claim.against, f"{self.margin:g}"
        trained = f", trained on {self.size} persons" if self.size else ""
        if self.word == "no result":
            return f"{arm} against {against}{trained}: no result yet."
        pairs = f"{plural(len(self.blocks), 'training')} each"
        missing = f" {plural(self.missing, 'pair')} of trainings missing: interim." if self.missing else ""
        if self.freedom <= 0:
            return f"{arm} against {against}{trained}: not decided: {self.gain:+.4f}, {pairs}, too few.{missing}"
        level = 0.9 if self.word == "equivalent" else 0.95
        low, high = self.interval(level)
        size = f"{self.gain:+.4f} ({level:.0%} {low:+.4f} to {high:+.4f}, p {self.p_holm:.2g} by Holm, {pairs})"
        if "equivalent" in self.word:
            return f"{arm} and {against}{trained} are {self.word} within {m}: {size}.{missing}"
        if self.word == "not decided":
            needed = self.folds_needed
            more = f" About {needed} folds would narrow the 95 % interval to \N{PLUS-MINUS SIGN}{m}." if needed else ""
            return f"{arm} against {against}{trained}: not decided: {size}.{more}{missing}"
        beyond = min(abs(low), abs(high))
        matters = "more than" if beyond > self.margin else "perhaps less than"
        if max(abs(low), abs(high)) < self.margin:
            matters = "but less than"
        return f"{arm} is {self.word} than {against}{trained}: {size}, {matters} the margin of {m}.{missing}"


def expected_half_width(folds: int, seeds: int) -> float:
    """Return half the width of the 95 % interval that pairs of trainings give if ``ASSUMED_SD`` is right."""
    units = folds if folds > 1 else seeds
    return float(t.ppf(0.975, units - 1)) * ASSUMED_SD / math.sqrt(folds * seeds) if units > 1 else math.inf


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
    by_fold = [np.stack(each) for fold in study.folds if (each := [gains[key] for key in gains if key[1] == fold])]
    gain = float(np.mean([block.mean() for block in by_fold])) if by_fold else math.nan
    error, freedom, p = math.nan, 0.0, 1.0
    if len(by_fold) > 1 or (by_fold and min(by_fold[0].shape) > 1):
        gain, error, freedom = gain_of_trainings(by_fold)
        p = _p_value(claim, gain, error, freedom, study.margin)
    return Verdict(claim, size, gain, error, freedom, blocks, missing, study.margin, p)


def _p_value(claim: Hypothesis, gain: float, error: float, freedom: float, margin: float) -> float:
    """Return the p value of a claim: two-sided for a difference; by two one-sided tests for equivalence."""
    distance = abs(gain) if claim.expect == "better" else margin - abs(gain)
    if error == 0:  # equal to the last bit: nothing was trained differently, or nothing was learned
        return 1.0
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
