"""What a study says about its hypotheses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import t

from attention_unet.errors import plural
from attention_unet.evaluation.significance import LEVEL, holm
from attention_unet.study.design import Cell, Hypothesis, Study
from attention_unet.study.gains import Gain, gain_between
from attention_unet.study.scores import Score, of_predictions, person_dice

Results = Mapping[Cell, Sequence[Score]]
ASSUMED_SD = 0.0015  # of the gain between pairs of trainings; see docs/study.md


@dataclass(frozen=True)
class Verdict:
    """What the gain of an arm over another says about a hypothesis.

    Attributes:
        claim: the hypothesis.
        size: number of persons trained on; None for all.
        gain: gain of mean Dice after the last step.
        margin: margin of equivalence.
        p: p value of the claim, by itself.
        p_holm: the same, corrected for the number of hypotheses.
    """

    claim: Hypothesis
    size: int | None
    gain: Gain
    margin: float
    p: float
    p_holm: float = 1.0

    @property
    def holds(self) -> bool:
        """Whether the claim is shown, by the corrected test."""
        return self.p_holm < LEVEL and (self.claim.expect == "equivalent" or self.gain.mean > 0)

    @property
    def word(self) -> str:
        """The verdict: "better", "worse", "equivalent", "not equivalent", "not decided" or "no result"."""
        if math.isnan(self.gain.mean):
            return "no result"
        if self.claim.expect == "equivalent":
            low, high = self.gain.interval(1 - LEVEL)
            outside = low > self.margin or high < -self.margin
            return "equivalent" if self.holds else "not equivalent" if outside else "not decided"
        return "not decided" if self.p_holm >= LEVEL else "better" if self.gain.mean > 0 else "worse"

    def __str__(self) -> str:
        """Return the verdict as a sentence, with its interval and the number of trainings."""
        arm, against, m = self.claim.arm, self.claim.against, f"{self.margin:g}"
        trained = f", trained on {self.size} persons" if self.size else ""
        if self.word == "no result":
            return f"{arm} against {against}{trained}: no result yet."
        pairs = f"{plural(len(self.gain.by_pair), 'training')} each"
        missing = f" {plural(self.gain.missing, 'pair')} of trainings missing: interim." if self.gain.missing else ""
        if self.gain.freedom <= 0:
            return f"{arm} against {against}{trained}: not decided: {self.gain.mean:+.4f}, {pairs}, too few.{missing}"
        level = 0.9 if self.word == "equivalent" else 0.95
        low, high = self.gain.interval(level)
        size = f"{self.gain.mean:+.4f} ({level:.0%} {low:+.4f} to {high:+.4f}, p {self.p_holm:.2g} by Holm, {pairs})"
        if "equivalent" in self.word:
            return f"{arm} and {against}{trained} are {self.word} within {m}: {size}.{missing}"
        if self.word == "not decided":
            needed = self.gain.folds_needed(self.margin)
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
    """Return the verdict on each hypothesis and size. P values are corrected by Holm for their number."""
    verdicts = []
    for claim in study.hypotheses:
        for size in study.sizes:
            gain = compare_arms(study, claim.arm, claim.against, size, results)
            verdicts.append(Verdict(claim, size, gain, study.margin, _p_value(claim, gain, study.margin)))
    corrected = holm([verdict.p for verdict in verdicts])
    return [replace(verdict, p_holm=p) for verdict, p in zip(verdicts, corrected, strict=True)]


def compare_arms(study: Study, arm: str, against: str, size: int | None, results: Results) -> Gain:
    """Return the gain of an arm over another in the predictions after the last step."""
    dice = {cell: person_dice(of_predictions(scores)) for cell, scores in results.items() if cell.arm in (arm, against)}
    return gain_between(study, arm, against, size, dice)


def _p_value(claim: Hypothesis, gain: Gain, margin: float) -> float:
    """Return the p value of a claim: two-sided for a difference; by two one-sided tests for equivalence."""
    # Arms that are equal to the last bit were not trained differently, or learned nothing.
    if gain.freedom <= 0 or gain.error == 0:
        return 1.0
    distance = abs(gain.mean) if claim.expect == "better" else margin - abs(gain.mean)
    return float((2 if claim.expect == "better" else 1) * t.sf(distance / gain.error, gain.freedom))
