"""Compare models on the same cases, each case predicted by every model.

The differences of single cases are compared, because cases differ far more than models do. P values are corrected by
Holm. The mean of classes is the primary result, corrected for the number of models. Single classes and the foreground
are secondary, corrected for their own number.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.significance import DIGITS, LEVEL, Gains, analyse_gains, holm
from attention_unet.files.csv_text import csv_text
from attention_unet.scans.labels import FOREGROUND, MEAN

log = logging.getLogger(__name__)

COMPARED = [name for name, metric in METRICS.items() if metric.compared]
HEADINGS = ["model", "baseline", "class", "metric"]
STATISTICS = ["gain", "low", "high", "n", "undefined", "better", "worse", "trainings", "p", "p_holm"]


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
        gain: mean over the cases; with several trainings, mean over the folds of the mean over the persons. NaN if a
            gain is infinite.
        ci95: 95% interval of the mean; NaN if it cannot be computed.
        undefined: number of cases in which the metric is undefined for one of the two models.
        trainings: number of trainings of each model: folds times runs.
        p: probability of a difference at least as large, if the models were equal; 1 if it cannot be computed.
        p_holm: the same, corrected for the number of comparisons.
        least_p: smallest ``p_holm`` that is possible with so few trainings or persons.
        side: above 0 if the model is better: ``gain``, or the sum of the signed ranks if that is NaN.
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
    side: float

    @property
    def significant(self) -> bool:
        """Whether the difference is significant by the corrected test, and by the interval if there is one.

        It never is if a case is undefined for one model.
        """
        low, high = self.ci95
        return self.p_holm < LEVEL and not self.undefined and not low <= 0 <= high

    def __str__(self) -> str:
        """Return the result as a sentence. A gain is positive if the model is better, also for distances."""
        unit, digits = (" mm", 2) if self.metric.endswith("_mm") else ("", 4)
        subject = f"in {self.metric.removesuffix('_mm')} on {self.class_name}"
        low, high, gain = *self.ci95, self.gain
        size = "" if math.isnan(gain) else f": a gain of {gain:+.{digits}f}{unit}"
        positive = sum(each > 0 for each in self.gains)
        negative = sum(each < 0 for each in self.gains)
        if not any(self.gains) and not self.undefined:
            text = f"{self.model} and {self.baseline} are equal {subject}"
        elif self.undefined:
            reason = f"undefined for one of them in {plural(self.undefined, 'case')}"
            text = f"no verdict on {self.model} and {self.baseline} {subject}: {reason}{size.replace(':', ';', 1)}"
        elif self.trainings > 1 and math.isnan(gain):
            reason = "a gain is infinite" if any(map(math.isinf, self.gains)) else "undefined in some runs"
            text = f"no verdict on {self.model} and {self.baseline} {subject}: {reason}; try another metric"
        elif self.least_p >= LEVEL:  # even if all persons or trainings differed to the same side
            few = "too few cases" if all(self.gains) else "too few cases differ"
            few = "too few trainings (expected two folds or three runs) or persons" if self.trainings > 1 else few
            text = f"{few} for a verdict on {self.model} and {self.baseline} {subject}{size}"
        elif not self.significant:
            text = f"no significant difference between {self.model} and {self.baseline} {subject}{size}"
        elif self.side > 0:
            text = f"{self.model} is better than {self.baseline} {subject}"
            text += "" if math.isnan(gain) else f" by {gain:.{digits}f}{unit}"
        else:
            text = f"{self.model} is worse than {self.baseline} {subject}"
            text += "" if math.isnan(gain) else f" by {-gain:.{digits}f}{unit}"
            low, high = -high, -low
        missed = ""
        if any(map(math.isinf, self.gains)):
            missed = (
                f"; {self.model} is better in {positive} and worse in {negative} cases; only one model misses or "
                f"invents the structure: {self.model} in {self.gains.count(-math.inf)}, {self.baseline} in "
                f"{self.gains.count(math.inf)}"
            )
        interval = "" if math.isnan(low) else f", 95% interval {low:.{digits}f} to {high:.{digits}f}"
        runs = f", {self.trainings} trainings each" if self.trainings > 1 else ""
        return f"{text}{missed}{interval}, n = {len(self.gains)}{runs}, corrected p = {self.p_holm:.2g}"


def compare(models: Mapping[str, Sequence[Sequence[Row]]], metric: str) -> list[Comparison]:
    """Compare every model but the first with the first, class by class, on the cases that all of them have.

    Cases and classes that a model lacks are left out with a warning, and so is the foreground if the classes differ.
    Where a metric with a perfect value is undefined for one model only, that model rightly predicts nothing and gets
    this value. Cases in which another metric is undefined for one model only are counted in ``undefined``, and allow no
    verdict. Classes that a case does not annotate in one of the evaluations are left out there.

    Args:
        models: by name, the rows of each run; at least two models with the same number of runs. Runs are paired in
            order.
        metric: one of ``COMPARED``.

    Raises:
        ConfigError: if the metric is not one of them, or models have different numbers of runs.
        DataError: if the models have no case or class in common, or the metric is defined for no case.
    """
    if metric not in COMPARED:
        raise ConfigError(f"the metric is {metric}: expected one of {', '.join(COMPARED)}")
    numbers = {name: len(runs) for name, runs in models.items()}
    if len(set(numbers.values())) > 1:
        counts = ", ".join(f"{name} {number}" for name, number in numbers.items())
        raise ConfigError(f"models have different numbers of runs ({counts}): expected the same number of each")
    tables = [rows for runs in models.values() for rows in runs]
    cases, classes = _shared([[row.case for row in rows] for rows in tables]), _shared_classes(tables)
    if left_out := {row.case for rows in tables for row in rows} - set(cases):
        log.warning("%s not in all: left out: %s", plural(len(left_out), "case"), first_few(left_out))
    if not cases or not any(name != FOREGROUND for name in classes):
        missing = "class" if cases else "case"
        raise DataError(f"{', '.join(models)}: have no {missing} in common: expected evaluations of the same cases")
    subject_of = {row.case: row.subject for rows in tables for row in rows if row.subject}
    subjects, folds = [subject_of.get(case, case) for case in cases], _folds(tables, cases)
    volumes = [_values(rows, cases, classes, "reference_volume_ml") for rows in tables]
    known = [each for each in volumes if not np.isnan(each).all()]  # tables of other tools may lack it
    unannotated = np.isnan(known).any(axis=0) if known else np.zeros(volumes[0].shape, bool)
    values = {name: np.stack([_values(rows, cases, classes, metric) for rows in runs]) for name, runs in models.items()}
    for of_model in values.values():
        of_model[:, unannotated] = np.nan
    baseline, *others = models
    comparisons = []
    for model in others:
        by_class = _gains_by_class(values[model], values[baseline], classes, metric)
        for class_name, (gains, undefined) in by_class.items():
            known = np.any(~np.isnan(gains), axis=0)
            if not known.any():
                log.warning("%s is defined for %s in no case of both %s and %s", metric, class_name, model, baseline)
                continue
            gain, ci95, p, least_p, trainings, side = analyse_gains(
                gains[:, known], list(compress(subjects, known)), list(compress(folds, known))
            )
            comparisons.append(
                Comparison(
                    model,
                    baseline,
                    class_name,
                    metric,
                    gains=tuple(gains[:, known].mean(axis=0).tolist()),
                    gain=gain,
                    ci95=ci95,
                    undefined=int(undefined.sum()),
                    trainings=trainings,
                    p=p,
                    p_holm=p,
                    least_p=least_p,
                    side=side,
                )
            )
    if not comparisons:
        raise DataError(f"{', '.join(models)}: {metric} is defined for no case of both: compare another metric")
    primary = MEAN if MEAN in classes else comparisons[0].class_name
    return _correct([comparison for comparison in comparisons if comparison.class_name == primary]) + _correct(
        [comparison for comparison in comparisons if comparison.class_name != primary]
    )


def comparisons_to_csv(comparisons: Sequence[Comparison]) -> str:
    """Return the text of ``comparison.csv``: one row per model and class. Gains are positive if the model is better."""
    rows: list[list[object]] = [[*HEADINGS, *STATISTICS]]
    for row in comparisons:
        better, worse = sum(gain > 0 for gain in row.gains), sum(gain < 0 for gain in row.gains)
        figures = [f"{value:.6g}" for value in (row.gain, *row.ci95)]
        counts = [len(row.gains), row.undefined, better, worse, row.trainings]
        names = [row.model, row.baseline, row.class_name, row.metric]
        rows.append([*names, *figures, *counts, f"{row.p:.6g}", f"{row.p_holm:.6g}"])
    return csv_text(rows)


def _gains_by_class(
    model: Gains, baseline: Gains, classes: Sequence[str], metric: str
) -> dict[str, tuple[Gains, NDArray[np.bool_]]]:
    """Return the gains in each class and in their mean.

    Args:
        model: metric of the model (runs, cases, classes), NaN where it is undefined.
        baseline: metric of the baseline, likewise.
        classes: names of the classes; the mean of a case is over the classes that are defined for it.
        metric: name of the metric.

    Returns:
        By class: gains (runs, cases); and whether the metric of a case is undefined for one of the two models (cases,).
    """
    perfect = METRICS[metric].perfect
    if perfect is not None:  # undefined here, but not for another model or run: rightly, nothing is predicted
        somewhere = ~(np.isnan(model) & np.isnan(baseline)).all(axis=0)
        model, baseline = (np.where(np.isnan(values) & somewhere, perfect, values) for values in (model, baseline))
    with np.errstate(invalid="ignore"):
        gains = (model - baseline) * (-1 if METRICS[metric].lower_is_better else 1)
    gains[np.isinf(model) & np.isinf(baseline)] = 0.0  # both miss or invent the structure
    undefined: NDArray[np.bool_] = np.logical_or.reduce(np.isnan(model) ^ np.isnan(baseline))  # over the runs
    single = [name not in (MEAN, FOREGROUND) for name in classes]
    by_class: dict[str, tuple[Gains, NDArray[np.bool_]]] = {}
    for index, name in enumerate(classes):
        if name == MEAN:
            defined = ~np.isnan(gains[..., single])
            with np.errstate(invalid="ignore"):
                sums = np.where(defined, gains[..., single], 0.0).sum(axis=-1)
            sums[np.isnan(sums)] = 0.0  # each misses or invents a structure: both means are infinite
            counts = defined.sum(axis=-1)
            means: Gains = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            by_class[name] = (np.round(means, DIGITS), np.logical_or.reduce(undefined[:, single], axis=-1))
        else:
            by_class[name] = (np.round(gains[..., index], DIGITS), undefined[:, index])
    return by_class


def _values(rows: Sequence[Row], cases: Sequence[str], classes: Sequence[str], metric: str) -> Gains:
    """Return the metric of each case and class (cases, classes); NaN where it is undefined."""
    values = {(row.case, row.class_name): getattr(row.metrics, metric) for row in rows}
    return np.array([[values.get((case, name), math.nan) for name in classes] for case in cases])


def _shared_classes(tables: Sequence[Sequence[Row]]) -> list[str]:
    """Return the classes of all tables, their mean if several, and the foreground if no table has further classes."""
    names = [list(dict.fromkeys(row.class_name for row in rows)) for rows in tables]
    shared = _shared(names)
    partial = {name for each in names for name in each} - set(shared)
    if partial:
        log.warning("classes that some evaluations lack are left out: %s", first_few(partial))
    single = [name for name in shared if name != FOREGROUND]
    together = [FOREGROUND] if FOREGROUND in shared and not partial else []
    return [*single, *([MEAN] if len(single) > 1 else []), *together]


def _folds(tables: Sequence[Sequence[Row]], cases: Sequence[str]) -> list[str]:
    """Return the fold of each case if all runs have the same folds; otherwise empty names, as for a single training."""
    folds = [{row.case: row.fold for row in rows} for rows in tables]
    if any([each[case] for case in cases] != [folds[0][case] for case in cases] for each in folds):
        log.warning("the runs have different folds: each counts as one training")
        return ["" for _ in cases]
    return [folds[0][case] for case in cases]


def _correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return a family of comparisons with corrected p values."""
    corrected = holm([comparison.p for comparison in comparisons])
    number = len(comparisons)
    return [
        replace(comparison, p_holm=p, least_p=min(number * comparison.least_p, 1.0))
        for comparison, p in zip(comparisons, corrected, strict=True)
    ]


def _shared(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the names that all lists hold, in the order of the first."""
    others = [set(other) for other in lists[1:]]
    return [name for name in dict.fromkeys(lists[0]) if all(name in other for other in others)]
