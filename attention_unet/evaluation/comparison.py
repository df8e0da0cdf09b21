"""The comparison of two models in one class: its figures, and its verdict in a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attention_unet.errors import plural
from attention_unet.evaluation.significance import LEVEL, GainTest
from attention_unet.files.csv_text import csv_text

HEADINGS = ["model", "baseline", "class", "metric"]
STATISTICS = ["gain", "low", "high", "n", "persons", "undefined", "better", "worse", "trainings", "p", "p_holm"]


@dataclass(frozen=True)
class Comparison:
    """Gain of a model over the baseline in a class.

    Attributes:
        model: name of the model.
        baseline: name of the model it is compared with.
        class_name: name of the class, or "mean of classes" for the mean over the classes of each case.
        metric: one of ``COMPARED``.
        gains: gain of each case, mean over the runs; positive if the model is better. Infinite if the metric is a
            distance and one of the two models missed or invented the structure.
        undefined: number of cases without a gain: the metric is undefined for one of the two models, or the means of
            both are infinite.
        test: test of the gains.
        p_holm: its p value, corrected for the number of comparisons.
        least_p_holm: smallest ``p_holm`` that is possible with so few trainings or persons.
    """

    model: str
    baseline: str
    class_name: str
    metric: str
    gains: tuple[float, ...]
    undefined: int
    test: GainTest
    p_holm: float
    least_p_holm: float

    @property
    def better(self) -> int:
        """Number of cases in which the model is better."""
        return sum(gain > 0 for gain in self.gains)

    @property
    def worse(self) -> int:
        """Number of cases in which the model is worse."""
        return sum(gain < 0 for gain in self.gains)

    @property
    def significant(self) -> bool:
        """Whether the difference is significant by the corrected test, and by the interval if there is one.

        It never is if a case has no gain, or if mean and ranks of the gains have different signs.
        """
        low, high = self.test.ci95
        return self.p_holm < LEVEL and not self.undefined and not low <= 0 <= high and self.test.side != 0

    def __str__(self) -> str:
        """Return the result as a sentence. A gain is positive if the model is better, also for distances."""
        runs = f", {self.test.trainings} trainings each" if self.test.trainings > 1 else ""
        persons = f" cases of {plural(self.test.persons, 'person')}" if self.test.persons < len(self.gains) else ""
        counts = f"n = {len(self.gains)}{persons}{runs}, corrected p = {self.p_holm:.2g}"
        return f"{self._verdict()}{self._missed()}{self._interval()}, {counts}"

    def _verdict(self) -> str:
        subject = f"in {self.metric.removesuffix('_mm')} on {self.class_name}"
        both, gain = f"{self.model} and {self.baseline} {subject}", self.test.gain
        size = "" if math.isnan(gain) else f"a gain of {self._in_unit(gain, sign='+')}"
        if not any(self.gains) and not self.undefined:
            average = " on average" if self.test.trainings > 1 else ""
            return f"{self.model} and {self.baseline} are equal {subject}{average}"
        if self.undefined:
            reason = f"the difference is undefined in {plural(self.undefined, 'case')}"
            return f"no verdict on {both}: {reason}{size and '; otherwise ' + size}"
        if self.test.of_methods and math.isnan(gain):
            reason = "a gain is infinite" if any(map(math.isinf, self.gains)) else "undefined or infinite in some runs"
            return f"no verdict on {both}: {reason}; try another metric"
        if self.p_holm < LEVEL and self.test.side == 0:
            counts = f"{self.model} is better in {self.better} and worse in {self.worse} cases"
            return f"no verdict on {both}: {counts}, against {size}"
        size = size and f": {size}"
        # not significant even if all persons or trainings differed to the same side
        if self.least_p_holm >= LEVEL and not self.significant:
            few = "too few cases" if self.test.persons == len(self.gains) else "too few persons"
            few += "" if all(self.gains) else " differ"
            if self.test.of_methods:
                few = "too few trainings (expected two folds or three runs) or persons"
            return f"{few} for a verdict on {both}{size}"
        if not self.significant:
            return f"no significant difference between {both}{size}"
        amount = "" if math.isnan(gain) else f" by {self._in_unit(abs(gain))}"
        return f"{self.model} is {'better' if self.test.side > 0 else 'worse'} than {self.baseline} {subject}{amount}"

    def _missed(self) -> str:
        """Return how often only one of the models misses or invents the structure."""
        if not any(map(math.isinf, self.gains)):
            return ""
        return (
            f"; {self.model} is better in {self.better} and worse in {self.worse} cases; only one model misses or "
            f"invents the structure: {self.model} in {self.gains.count(-math.inf)}, {self.baseline} in "
            f"{self.gains.count(math.inf)}"
        )

    def _interval(self) -> str:
        """Return the interval of the gain; of the loss if the verdict is that the model is worse."""
        low, high = self.test.ci95
        if self.significant and self.test.side <= 0:
            low, high = -high, -low
        digits = self._digits
        return "" if math.isnan(low) else f", 95% interval {low:.{digits}f} to {high:.{digits}f}"

    @property
    def _digits(self) -> int:
        return 2 if self.metric.endswith("_mm") else 4

    def _in_unit(self, value: float, sign: str = "") -> str:
        return f"{value:{sign}.{self._digits}f}{' mm' if self.metric.endswith('_mm') else ''}"


def comparisons_to_csv(comparisons: Sequence[Comparison]) -> str:
    """Return the text of ``comparison.csv``: one row per model and class. Gains are positive if the model is better."""
    rows: list[list[object]] = [[*HEADINGS, *STATISTICS]]
    for row in comparisons:
        figures = [f"{value:.6g}" for value in (row.test.gain, *row.test.ci95)]
        counts = [len(row.gains), row.test.persons, row.undefined, row.better, row.worse, row.test.trainings]
        names = [row.model, row.baseline, row.class_name, row.metric]
        rows.append([*names, *figures, *counts, f"{row.test.p:.6g}", f"{row.p_holm:.6g}"])
    return csv_text(rows)
