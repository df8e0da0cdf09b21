"""What a study says about its hypotheses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.stats import t

from attention_unet.errors import plural
from attention_unet.evaluation.significance import LEVEL, holm
from attention_unet.study.design import Study
from attention_unet.study.finished import Results
from attention_unet.study.gains import Gain, find_pairs
from attention_unet.study.hypothesis import Hypothesis

ASSUMED_SD = 0.0025  # of the gain between pairs of trainings: that of the study of hippocampus crops


@dataclass(frozen=True)
class Verdict:
    """What the gain of an arm over another says about a hypothesis."""

    claim: Hypothesis
    persons: int | None  # number of persons trained on; None for all
    gain: Gain  # of mean Dice after the last step
    learned: bool  # whether one of both arms finds a structure; if none does, nothing is decided
    margin: float  # of equivalence
    p: float  # p value of the claim, by itself
    claims: int = 1  # number of claims that are tested together
    p_holm: float = 1.0  # p value of the claim, corrected for their number
    robust: bool = True  # whether the verdict is the same with the error of ``Gain.widened``

    @property
    def outcome(self) -> str:
        """The verdict: "better", "worse", "equivalent", "not equivalent", "not decided" or "no result"."""
        if math.isnan(self.gain.mean):
            return "no result"
        if not self.learned:
            return "not decided"
        if self.p_holm < LEVEL:
            return "equivalent" if self.claim.expect == "equivalent" else "better" if self.gain.mean > 0 else "worse"
        low, high = self.gain.interval(1 - LEVEL / self.claims)
        outside = self.claim.expect == "equivalent" and (low > self.margin or high < -self.margin)
        return "not equivalent" if outside and self.gain.error > 0 else "not decided"

    def __str__(self) -> str:
        """Return the verdict as a sentence, with its interval and the number of trainings."""
        arm, against, word, m = self.claim.arm, self.claim.against, self.outcome, f"{self.margin:g}"
        trained = f", trained on {plural(self.persons, 'person')}" if self.persons else ""
        if word == "no result":
            return f"{arm} against {against}{trained}: no result yet."
        end = "" if self.robust else " Not robust: not decided with the error for folds that share training cases."
        end += f" {plural(self.gain.missing, 'pair')} of trainings missing: interim." if self.gain.missing else ""
        if word == "not decided":
            claim = f"{arm} is better than {against}"
            if self.claim.expect == "equivalent":
                claim = f"{arm} and {against} are equivalent within {m}"
            return f"Not decided whether {claim}{trained}: {self._size()}{self._why_undecided()}.{end}"
        if "equivalent" in word:
            return f"{arm} and {against}{trained and f'{trained},'} are {word} within {m}: {self._size()}.{end}"
        return (
            f"{arm} is {word} than {against}{trained}: {self._size()}, {self._beside_margin()} the margin of {m}.{end}"
        )

    def _size(self) -> str:
        """Return the gain with its interval, p value and numbers of trainings and folds."""
        level = 0.9 if self.outcome == "equivalent" else 0.95
        size = f"{self.gain.mean:+.4f}"
        if self.gain.freedom > 0:
            low, high = self.gain.interval(level)
            p = "" if self.outcome == "not equivalent" else f", p {self.p_holm:.2g} by Holm"
            size += f" ({level:.0%} {low:+.4f} to {high:+.4f}{p})"
        folds = len({fold for _, fold in self.gain.by_pair})
        return f"{size}, {plural(len(self.gain.by_pair), 'training')} each on {plural(folds, 'fold')}"

    def _why_undecided(self) -> str:
        if not self.learned and self.gain.freedom > 0:
            return ": neither finds any structure. Train longer"
        if needed := self.gain.folds_needed(self.margin):
            new = f"about {float(f'{needed:.2g}'):.0f} folds, each with as many new persons"
            return (
                f". If folds vary as these do, {new}, would narrow the interval to \N{PLUS-MINUS SIGN}{self.margin:g}"
            )
        if self.gain.error == 0:
            return ": the same gain in all trainings"
        return "" if self.gain.freedom > 0 else ": too few trainings or persons"

    def _beside_margin(self) -> str:
        """Return how the gain compares with the margin, by its interval."""
        least, most = sorted(map(abs, self.gain.interval(0.95)))
        if most < self.margin:
            return "but less than"
        return "more than" if least > self.margin else "perhaps less than"


def expected_half_width(folds: int, seeds: int) -> float | None:
    """Return half the width of the 95 % interval that the folds give if ``ASSUMED_SD`` is right; None for one fold.

    Pairs of one fold share persons and training cases: with several seeds, this holds if only seeds differ.
    """
    return float(t.ppf(0.975, folds - 1)) * ASSUMED_SD / math.sqrt(folds * seeds) if folds > 1 else None


def judge(study: Study, results: Results) -> list[Verdict]:
    """Return the verdict on each hypothesis and number of persons. P values are corrected by Holm for their number."""
    folds = next(iter(study.arms.values())).data.folds
    pairs = [
        (claim, persons, find_pairs(study, results, claim.arm, claim.against, persons))
        for claim in study.hypotheses
        for persons in study.persons
    ]
    gains = [(claim, persons, both.gain(), both.find_any()) for claim, persons, both in pairs]
    verdicts = _decide(gains, study.margin)
    others = _decide(
        [(claim, number, gain.widened(folds), learned) for claim, number, gain, learned in gains], study.margin
    )
    return [replace(v, robust=v.outcome == other.outcome) for v, other in zip(verdicts, others, strict=True)]


def _decide(gains: Sequence[tuple[Hypothesis, int | None, Gain, bool]], margin: float) -> list[Verdict]:
    """Return the verdict on each claim, given its gain and whether one of its arms finds a structure."""
    values = [_p_value(claim, gain, margin) if learned else 1.0 for claim, _, gain, learned in gains]
    return [
        Verdict(*of_claim, margin, p, len(gains), corrected)
        for of_claim, p, corrected in zip(gains, values, holm(values), strict=True)
    ]


def _p_value(claim: Hypothesis, gain: Gain, margin: float) -> float:
    """Return the p value of a claim: two-sided for a difference; by two one-sided tests for equivalence."""
    # Gains that are equal in all trainings are no sample: the arms were not trained differently, or learned nothing.
    if gain.freedom <= 0 or gain.error == 0:
        return 1.0
    distance = abs(gain.mean) if claim.expect == "better" else margin - abs(gain.mean)
    return float((2 if claim.expect == "better" else 1) * t.sf(distance / gain.error, gain.freedom))
