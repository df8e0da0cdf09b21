"""Paired comparison of evaluations: the same cases, each by several models.

It is the difference of each case that counts, as cases differ far more than models do. Its interval is a bootstrap over
cases; the test is Wilcoxon's of signed ranks ("Individual Comparisons by Ranking Methods", 1945), corrected for the
number of comparisons by Holm ("A Simple Sequentially Rejective Multiple Test Procedure", 1979).
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import PermutationMethod, wilcoxon

from attention_unet.csv_text import csv_text
from attention_unet.errors import ConfigError, DataError, counted, some_of
from attention_unet.evaluation.metrics import LOWER_IS_BETTER
from attention_unet.evaluation.rows import FOREGROUND, Row
from attention_unet.evaluation.scored import SCORED, read_scored
from attention_unet.evaluation.summary import interval_of_mean
from attention_unet.json_file import read_object

log = logging.getLogger(__name__)

COMPARED = ("dice", "iou", "nsd", "sensitivity", "precision", *LOWER_IS_BETTER)  # metrics
MEAN = "mean of classes"
LEVEL = 0.05  # of the test
COUNTED = 16  # differing cases, up to which all combinations of their signs are tried
STATISTICS = ["gain", "low", "high", "n", "undefined", "better", "worse", "p", "p_holm"]


@dataclass(frozen=True)
class Comparison:
    """How much better a model is than the baseline in a class.

    Attributes:
        model: compared.
        baseline: what it is compared with.
        class_name: of a class, or "mean of classes", of each case.
        metric: one of ``COMPARED``.
        gains: by how much the model is better, for each case for which the metric of both is defined.
        undefined: number of the other cases.
        p: how likely chance alone makes as large a difference; 1 where there is none.
        p_holm: the same, corrected for all comparisons that were made.
        comparisons: how many these are.
    """

    model: str
    baseline: str
    class_name: str
    metric: str
    gains: tuple[float, ...]
    undefined: int
    p: float
    p_holm: float
    comparisons: int

    @cached_property
    def gain(self) -> float:
        """Mean over the cases."""
        return float(np.mean(self.gains))

    @cached_property
    def ci95(self) -> tuple[float, float]:
        """95% interval of the mean; NaN of one case."""
        return interval_of_mean(self.gains)

    @property
    def told_apart(self) -> bool:
        """Whether both the interval and the corrected test say that there is a difference."""
        low, high = self.ci95
        return self.p_holm < LEVEL and (low > 0 or high < 0)

    @property
    def too_few(self) -> bool:
        """Whether the test could not tell models apart even if every case that differs did so to the same side."""
        differing = sum(gain != 0 for gain in self.gains)
        return self.comparisons * 0.5 ** (differing - 1) >= LEVEL

    def __str__(self) -> str:
        """A plain sentence; a gain is positive where the model is better, of distances where they are smaller."""
        unit, digits = (" mm", 2) if self.metric.endswith("_mm") else ("", 4)
        on = f"in {self.metric.removesuffix('_mm')} on {self.class_name}"
        low, high, gain = *self.ci95, self.gain
        if not any(self.gains):
            text = f"{self.model} and {self.baseline} are equal {on}"
        elif self.too_few:
            few = "too few cases" if all(self.gains) else "too few cases differ"
            text = f"{few} to tell {self.model} and {self.baseline} apart {on}: "
            text += f"a gain of {gain:+.{digits}f}{unit}"
        elif not self.told_apart:
            text = f"{self.model} and {self.baseline} cannot be told apart {on}: "
            text += f"a gain of {gain:+.{digits}f}{unit}"
        elif gain > 0:
            text = f"{self.model} is better than {self.baseline} {on} by {gain:.{digits}f}{unit}"
        else:
            text = f"{self.model} is worse than {self.baseline} {on} by {-gain:.{digits}f}{unit}"
            low, high = -high, -low
        undefined = f", not defined in {self.undefined} more" if self.undefined else ""
        interval = "" if math.isnan(low) else f", 95% interval {low:.{digits}f} to {high:.{digits}f}"
        return f"{text}{interval}, n = {len(self.gains)}{undefined}, corrected p = {self.p_holm:.2g}"


def compare(evaluations: Mapping[str, Sequence[Row]], metric: str) -> list[Comparison]:
    """Compare every model but the first with the first, class by class, on the cases that all of them have.

    Args:
        evaluations: rows of each model, by name; at least two.
        metric: one of ``COMPARED``.

    A class that one lacks, or for which the metric is defined in no case of both, is left out with a warning; so is
    the foreground where classes differ.

    Raises:
        ConfigError: if the metric is another.
        DataError: if they have no case or class in common, or for none the metric is defined.
    """
    if metric not in COMPARED:
        raise ConfigError(f"the metric is {metric}: expected one of {', '.join(COMPARED)}")
    tables = {name: _values(rows, metric) for name, rows in evaluations.items()}
    baseline, *models = tables
    cases, shared = shared_cases(evaluations), _shared([list(table) for table in tables.values()])
    classes = [name for name in shared if name != FOREGROUND]
    partial = {name for table in tables.values() for name in table} - set(shared)
    if partial:
        log.warning("warning: classes that not all have are left out: %s", some_of(partial))
    if not cases or not classes:
        what = "class" if cases else "case"
        raise DataError(f"{', '.join(evaluations)}: have no {what} in common: expected evaluations of the same cases")
    if len(classes) > 1:
        for table in tables.values():
            table[MEAN] = _mean_of([table[name] for name in classes])
        classes.append(MEAN)
    if FOREGROUND in shared and not partial:
        classes.append(FOREGROUND)
    found = []
    for model in models:
        for name in classes:
            own, other = (
                np.array([tables[of][name].get(case, math.nan) for case in cases]) for of in (model, baseline)
            )
            defined = np.isfinite(own) & np.isfinite(other)
            gains = ((own - other)[defined] * (-1 if metric in LOWER_IS_BETTER else 1)).tolist()
            if gains:
                found.append((model, name, gains, _p_value(gains)))
            else:
                log.warning("warning: %s is defined for %s in no case of both %s and %s", metric, name, model, baseline)
    if not found:
        raise DataError(f"{', '.join(evaluations)}: {metric} is defined for no case of both: compare another metric")
    corrected = holm([p for *_, p in found])
    return [
        Comparison(model, baseline, name, metric, tuple(gains), len(cases) - len(gains), p, p_holm, len(found))
        for (model, name, gains, p), p_holm in zip(found, corrected, strict=True)
    ]


def check_alike(evaluations: Sequence[Path], metric: str) -> None:
    """Check that evaluations were made alike, as far as their folders tell; warns of other references.

    Raises:
        ConfigError: if the metric depends on a tolerance and theirs differ.
    """
    tolerances = [_told(folder / "summary.json").get("settings", {}).get("tolerance_mm") for folder in evaluations]
    if metric == "nsd" and len({mm for mm in tolerances if mm is not None}) > 1:
        raise ConfigError(f"the tolerances of nsd are {tolerances} mm: expected one; set --tolerance-mm of evaluate")
    files = [read_scored(folder).references for folder in evaluations if (folder / SCORED).is_file()]
    for references in files[1:]:
        other = [case for case in references if files[0].get(case, references[case]) != references[case]]
        if other:
            told = f"{references[other[0]]}, and not {files[0][other[0]]}"
            log.warning("warning: scored with other references: %s: %s", counted(len(other), "case"), told)


def _told(file: Path) -> dict[str, Any]:
    return read_object(file) if file.is_file() else {}


def shared_cases(evaluations: Mapping[str, Sequence[Row]]) -> list[str]:
    """Cases that all evaluations have."""
    return _shared([[row.case for row in rows] for rows in evaluations.values()])


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number, step by step from the smallest on."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min((len(p_values) - rank) * p_values[place], 1.0))
        corrected[place] = highest
    return corrected


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """``comparison.csv``: a row a model and class; gains are positive where the model is better than the baseline."""
    rows: list[list[object]] = [["model", "baseline", "class", "metric", *STATISTICS]]
    for one in comparisons:
        better, worse = sum(gain > 0 for gain in one.gains), sum(gain < 0 for gain in one.gains)
        figures = [f"{value:.6g}" for value in (one.gain, *one.ci95)]
        counts = [len(one.gains), one.undefined, better, worse]
        names = [one.model, one.baseline, one.class_name, one.metric]
        rows.append([*names, *figures, *counts, f"{one.p:.6g}", f"{one.p_holm:.6g}"])
    return csv_text(rows)


def _values(rows: Sequence[Row], metric: str) -> dict[str, dict[str, float]]:
    """The metric by class and case."""
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        table.setdefault(row.class_name, {})[row.case] = getattr(row.metrics, metric)
    return table


def _mean_of(classes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over classes of each case; NaN where one is not defined."""
    every = dict.fromkeys(case for of in classes for case in of)
    return {case: sum(of.get(case, math.nan) for of in classes) / len(classes) for case in every}


def _p_value(gains: Sequence[float]) -> float:
    """Of Wilcoxon's test of the cases that differ: by all signs that they might have, as far as these can be counted,
    for ties spoil what is else taken for exact.
    """
    differing = [gain for gain in gains if gain]
    if len(differing) < 2:  # of one case, either sign is as likely
        return 1.0
    exact = PermutationMethod(n_resamples=2**COUNTED) if len(differing) <= COUNTED else "auto"
    return float(wilcoxon(differing, method=exact).pvalue)


def _shared(lists: Sequence[Sequence[str]]) -> list[str]:
    """What all lists hold, in the order of the first."""
    return [name for name in dict.fromkeys(lists[0]) if all(name in other for other in map(set, lists[1:]))]
