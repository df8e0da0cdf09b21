"""Paired comparison of models: the same cases, each predicted by every model.

What counts is the difference of each case, because cases differ far more than models do. P values are corrected by
Holm: the mean of classes for the number of models; classes and foreground, which are secondary, for their own number.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.evaluation.metrics import LOWER_IS_BETTER
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.significance import LEVEL, Gains, holm, test_gains
from attention_unet.files.csv_text import csv_text
from attention_unet.scans.labels import FOREGROUND, MEAN

log = logging.getLogger(__name__)

PERFECT = {"dice": 1.0, "iou": 1.0, "nsd": 1.0, "hd95_mm": 0.0, "assd_mm": 0.0}  # value if rightly nothing is predicted
COMPARED = (*PERFECT, "sensitivity", "precision")
DIGITS = 9  # of gains: equal ones may differ by rounding
HEADINGS = ["model", "baseline", "class", "metric"]
STATISTICS = ["gain", "low", "high", "n", "undefined", "better", "worse", "trainings", "p", "p_holm"]


@dataclass(frozen=True)
class Comparison:
    """How much better a model is than the baseline in a class.

    Attributes:
        model: compared.
        baseline: what it is compared with.
        class_name: of a class, or "mean of classes", of each case.
        metric: one of ``COMPARED``.
        gains: of each case, mean over the runs; positive if the model is better. Infinite if one of the two models
            missed or invented the structure and the metric is a distance.
        gain: mean over the cases; NaN if a gain is infinite.
        ci95: 95% interval of the mean; NaN where there is none.
        undefined: number of cases in which the metric is undefined for one of the two.
        trainings: of each of the two: folds times runs.
        p: probability that chance alone makes as large a difference; 1 where it cannot be told.
        p_holm: corrected for the number of comparisons.
        least_p: the smallest ``p_holm`` that so few trainings or persons could give.
    """

    model: str
    baseline: str
    class_name: str
    metric: str
    gains: tuple[float, ...]
    gain: float
    ci95: tuple[float, float]
    undefined: int
    trainings: int
    p: float
    p_holm: float
    least_p: float

    @property
    def told_apart(self) -> bool:
        """Whether the corrected test, and the interval if there is one, say that there is a difference."""
        low, high = self.ci95
        return self.p_holm < LEVEL and not self.undefined and not low <= 0 <= high

    @property
    def too_few(self) -> bool:
        """Whether the test could not tell models apart even if all persons or trainings differed to the same side."""
        return self.least_p >= LEVEL

    def __str__(self) -> str:
        """A plain sentence; a gain is positive where the model is better, of distances where they are smaller."""
        unit, digits = (" mm", 2) if self.metric.endswith("_mm") else ("", 4)
        on = f"in {self.metric.removesuffix('_mm')} on {self.class_name}"
        low, high, gain = *self.ci95, self.gain
        size = "" if math.isnan(gain) else f": a gain of {gain:+.{digits}f}{unit}"
        positive = sum(each > 0 for each in self.gains)
        negative = sum(each < 0 for each in self.gains)
        better = gain > 0 if not math.isnan(gain) else positive > negative
        if not any(self.gains) and not self.undefined:
            text = f"{self.model} and {self.baseline} are equal {on}"
        elif self.undefined:
            reason = f"undefined for one of them in {plural(self.undefined, 'case')}"
            text = f"no verdict on {self.model} and {self.baseline} {on}: {reason}{size.replace(':', ';', 1)}"
        elif self.too_few:
            few = "too few cases" if all(self.gains) else "too few cases differ"
            text = f"{few} to tell {self.model} and {self.baseline} apart {on}{size}"
        elif not self.told_apart:
            text = f"{self.model} and {self.baseline} cannot be told apart {on}{size}"
        elif better:
            text = f"{self.model} is better than {self.baseline} {on}"
            text += "" if math.isnan(gain) else f" by {gain:.{digits}f}{unit}"
        else:
            text = f"{self.model} is worse than {self.baseline} {on}"
            text += "" if math.isnan(gain) else f" by {-gain:.{digits}f}{unit}"
            low, high = -high, -low
        missed = ""
        if math.isnan(gain):
            missed = (
                f", better in {positive} and worse in {negative} cases; misses or invents the structure alone: "
                f"{self.model} in {self.gains.count(-math.inf)}, {self.baseline} in {self.gains.count(math.inf)}"
            )
        interval = "" if math.isnan(low) else f", 95% interval {low:.{digits}f} to {high:.{digits}f}"
        runs = f", {self.trainings} trainings each" if self.trainings > 1 else ""
        return f"{text}{missed}{interval}, n = {len(self.gains)}{runs}, corrected p = {self.p_holm:.2g}"


def compare(models: Mapping[str, Sequence[Sequence[Row]]], metric: str) -> list[Comparison]:
    """Compare every model but the first with the first, class by class, on the cases that all of them have.

    A class that one lacks is left out with a warning; so is the foreground where classes differ. A metric is undefined
    where nothing is there and nothing is predicted: this counts as perfect if the other model predicts something.

    Args:
        models: by name, the rows of each of its runs; at least two models, with as many runs each. Runs are paired in
            order.
        metric: one of ``COMPARED``.

    Raises:
        ConfigError: if the metric is another, or models have different numbers of runs.
        DataError: if they have no case or class in common, or the metric is defined for none.
    """
    if metric not in COMPARED:
        raise ConfigError(f"the metric is {metric}: expected one of {', '.join(COMPARED)}")
    numbers = {name: len(runs) for name, runs in models.items()}
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{name} {number}" for name, number in numbers.items())
        raise ConfigError(f"models have different numbers of runs ({told}): expected as many of each")
    every = [rows for runs in models.values() for rows in runs]
    cases, classes = shared_cases(models), _classes(every)
    if not cases or not any(name != FOREGROUND for name in classes):
        what = "class" if cases else "case"
        raise DataError(f"{', '.join(models)}: have no {what} in common: expected evaluations of the same cases")
    subject_of = {row.case: row.subject for rows in every for row in rows if row.subject}
    subjects, folds = [subject_of.get(case, case) for case in cases], _folds(every, cases)
    values = {name: np.stack([_table(rows, cases, classes, metric) for rows in runs]) for name, runs in models.items()}
    baseline, *others = models
    found = []
    for model in others:
        by_class = _gains_by_class(values[model], values[baseline], classes, metric)
        for class_name, (gains, undefined) in by_class.items():
            known = np.any(~np.isnan(gains), axis=0).tolist()
            if not any(known):
                log.warning("%s is defined for %s in no case of both %s and %s", metric, class_name, model, baseline)
                continue
            own = [[each for each, keep in zip(of, known, strict=True) if keep] for of in (subjects, folds)]
            gain, ci95, p, least_p, trainings = test_gains(gains[:, known], *own)
            of_case = tuple(gains[:, known].mean(axis=0).tolist())
            one = Comparison(
                model, baseline, class_name, metric, of_case, gain, ci95, int(undefined.sum()), trainings, p, p, least_p
            )
            found.append(one)
    if not found:
        raise DataError(f"{', '.join(models)}: {metric} is defined for no case of both: compare another metric")
    primary = MEAN if MEAN in classes else found[0].class_name
    return _corrected([one for one in found if one.class_name == primary]) + _corrected(
        [one for one in found if one.class_name != primary]
    )


def shared_cases(models: Mapping[str, Sequence[Sequence[Row]]]) -> list[str]:
    """Cases that all runs of all models have."""
    return _shared([[row.case for row in rows] for runs in models.values() for rows in runs])


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """``comparison.csv``: a row a model and class; gains are positive where the model is better than the baseline."""
    rows: list[list[object]] = [[*HEADINGS, *STATISTICS]]
    for one in comparisons:
        better, worse = sum(gain > 0 for gain in one.gains), sum(gain < 0 for gain in one.gains)
        figures = [f"{value:.6g}" for value in (one.gain, *one.ci95)]
        counts = [len(one.gains), one.undefined, better, worse, one.trainings]
        names = [one.model, one.baseline, one.class_name, one.metric]
        rows.append([*names, *figures, *counts, f"{one.p:.6g}", f"{one.p_holm:.6g}"])
    return csv_text(rows)


def _gains_by_class(
    own: Gains, other: Gains, classes: Sequence[str], metric: str
) -> dict[str, tuple[Gains, NDArray[np.bool_]]]:
    """Gains of each class and of their mean.

    Args:
        own: metric of the model (runs, cases, classes), NaN where it is undefined.
        other: the same of the baseline.
        classes: their names; the mean of a case is over the classes that are defined for it.
        metric: its name.

    Returns:
        By class, gains (runs, cases), and whether a case is undefined for one of the two (cases,).
    """
    if metric in PERFECT:  # undefined for one alone: that one rightly predicts nothing
        alone = np.isnan(own) ^ np.isnan(other)
        own, other = (np.where(np.isnan(of) & alone, PERFECT[metric], of) for of in (own, other))
    with np.errstate(invalid="ignore"):
        gains = (own - other) * (-1 if metric in LOWER_IS_BETTER else 1)
    gains[np.isinf(own) & np.isinf(other)] = 0.0  # both miss or invent the structure
    undefined: NDArray[np.bool_] = np.logical_or.reduce(np.isnan(own) ^ np.isnan(other))  # over the runs
    single = [name not in (MEAN, FOREGROUND) for name in classes]
    found: dict[str, tuple[Gains, NDArray[np.bool_]]] = {}
    for place, name in enumerate(classes):
        if name == MEAN:
            defined = ~np.isnan(gains[..., single])
            sums = np.where(defined, gains[..., single], 0.0).sum(axis=-1)
            counts = defined.sum(axis=-1)
            of_class: Gains = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            found[name] = (np.round(of_class, DIGITS), np.logical_or.reduce(undefined[:, single], axis=-1))
        else:
            found[name] = (np.round(gains[..., place], DIGITS), undefined[:, place])
    return found


def _table(rows: Sequence[Row], cases: Sequence[str], classes: Sequence[str], metric: str) -> Gains:
    """The metric of each case and class (cases, classes); NaN where it is undefined."""
    found = {(row.case, row.class_name): getattr(row.metrics, metric) for row in rows}
    return np.array([[found.get((case, name), math.nan) for name in classes] for case in cases])


def _classes(every: Sequence[Sequence[Row]]) -> list[str]:
    """Classes that all have, their mean if there are several, and the foreground if all have the same classes."""
    named = [list(dict.fromkeys(row.class_name for row in rows)) for rows in every]
    shared = _shared(named)
    partial = {name for names in named for name in names} - set(shared)
    if partial:
        log.warning("classes that not all have are left out: %s", first_few(partial))
    single = [name for name in shared if name != FOREGROUND]
    together = [FOREGROUND] if FOREGROUND in shared and not partial else []
    return [*single, *([MEAN] if len(single) > 1 else []), *together]


def _folds(every: Sequence[Sequence[Row]], cases: Sequence[str]) -> list[str]:
    """The fold of each case, if all runs have the same folds; otherwise empty, as of a single training."""
    tables = [{row.case: row.fold for row in rows} for rows in every]
    if any([table[case] for case in cases] != [tables[0][case] for case in cases] for table in tables):
        log.warning("the runs have different folds: each counts as one training")
        return ["" for _ in cases]
    return [tables[0][case] for case in cases]


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """A family of comparisons with their corrected p values."""
    corrected = holm([one.p for one in comparisons])
    number = len(comparisons)
    return [
        replace(one, p_holm=p, least_p=min(number * one.least_p, 1.0))
        for one, p in zip(comparisons, corrected, strict=True)
    ]


def _shared(lists: Sequence[Sequence[str]]) -> list[str]:
    """What all lists hold, in the order of the first."""
    return [name for name in dict.fromkeys(lists[0]) if all(name in other for other in map(set, lists[1:]))]
