"""Compare models on the same cases, each case predicted by every model.

The differences of single cases are compared, because cases differ far more than models do. P values are corrected by
Holm. The mean of classes is the primary result, corrected for the number of models. Single classes and the foreground
are secondary, corrected for their own number.
"""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.evaluation.comparison import Comparison
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.significance import DIGITS, Gains, analyse_gains, holm
from attention_unet.scans.labels import FOREGROUND, MEAN

log = logging.getLogger(__name__)

SAME_VOLUME = 1e-4  # least relative difference of true volumes that shows another reference
COMPARED = [name for name, metric in METRICS.items() if metric.compared]


def compare(models: Mapping[str, Sequence[Sequence[Row]]], metric: str) -> list[Comparison]:
    """Compare every model but the first with the first, class by class, on the cases that all of them have.

    Cases and classes that a model lacks are left out with a warning, and so is the foreground if the classes differ.
    Where a metric with a perfect value is undefined for one model only, that model rightly predicts nothing and gets
    this value. Cases in which another metric is undefined for one model only are counted in ``undefined``, and allow no
    verdict. Classes that a case does not annotate in one of the evaluations are left out there.

    ``models`` has the rows of each run by name of the model, for at least two models. Runs are paired in order.
    Raise ConfigError if the metric is not one of ``COMPARED``, or models have different numbers of runs; DataError if
    the models have no case or class in common, the metric is defined for no case, or a table of another tool lacks it.
    """
    _check_arguments(models, metric)
    tables = [rows for runs in models.values() for rows in runs]
    cases, classes = _shared([[row.case for row in rows] for rows in tables]), _shared_classes(tables)
    if left_out := {row.case for rows in tables for row in rows} - set(cases):
        log.warning("%s not in all: left out: %s", plural(len(left_out), "case"), first_few(left_out))
    if not cases or not any(name != FOREGROUND for name in classes):
        missing = "class" if cases else "case"
        raise DataError(
            f"{', '.join(models)}: have no {missing} in common: expected evaluations of the same cases and classes"
        )
    subjects, folds = _subjects(tables, cases), _folds(tables, cases)
    volumes = {
        name: np.stack([_values(rows, cases, classes, "reference_volume_ml") for rows in runs])
        for name, runs in models.items()
    }
    of_all = np.concatenate(list(volumes.values()))
    unannotated = _unannotated(of_all)
    _warn_of_other_volumes(of_all, cases, classes)
    values = {name: np.stack([_values(rows, cases, classes, metric) for rows in runs]) for name, runs in models.items()}
    for of_model in values.values():
        of_model[:, unannotated] = np.nan
    baseline, *others = models
    comparisons = []
    for model in others:
        empty = [np.isnan(values[name]) & (volumes[name] == 0) for name in (model, baseline)]
        by_class = _gains_by_class(values[model], values[baseline], empty, classes, metric)
        for class_name, (gains, undefined) in by_class.items():
            known = np.any(~np.isnan(gains), axis=0)
            if not known.any():
                log.warning("%s is defined for %s in no case of both %s and %s", metric, class_name, model, baseline)
                continue
            test = analyse_gains(gains, subjects, folds)
            with np.errstate(invalid="ignore"):  # infinite of both signs
                mean_gains = tuple(gains[:, known].mean(axis=0).tolist())
            names = model, baseline, class_name, metric
            comparisons.append(
                Comparison(*names, mean_gains, int(undefined.sum()), test, p_holm=test.p, least_p_holm=test.least_p)
            )
    if not comparisons:
        raise DataError(f"{', '.join(models)}: {metric} is defined for no case of both: compare another metric")
    primary = MEAN if MEAN in classes else comparisons[0].class_name
    return _correct([comparison for comparison in comparisons if comparison.class_name == primary]) + _correct(
        [comparison for comparison in comparisons if comparison.class_name != primary]
    )


def _check_arguments(models: Mapping[str, Sequence[Sequence[Row]]], metric: str) -> None:
    if metric not in COMPARED:
        raise ConfigError(f"the metric is {metric}: expected one of {', '.join(COMPARED)}")
    numbers = {name: len(runs) for name, runs in models.items()}
    if len(set(numbers.values())) > 1:
        counts = ", ".join(f"{name} {number}" for name, number in numbers.items())
        raise ConfigError(f"models have different numbers of runs ({counts}): expected the same number of each")
    lacking = [name for name, runs in models.items() if any(_lacks(rows, metric) for rows in runs)]
    if 0 < len(lacking) < len(models):  # NaN would be taken for a structure that is rightly not predicted
        raise DataError(f"{lacking[0]}: its table has no {metric}: evaluate again, or compare another metric")


def _lacks(rows: Sequence[Row], metric: str) -> bool:
    """Return whether a table of another tool lacks a metric. Ours hold a volume of each mask."""
    return all(math.isnan(getattr(row.metrics, metric)) and math.isnan(row.metrics.volume_ml) for row in rows)


def _unannotated(volumes: Gains) -> NDArray[np.bool_]:
    """Return which cases do not annotate which classes (cases, classes), from true volumes (tables, cases, classes)."""
    recorded = ~np.isnan(volumes).all(axis=(1, 2))  # tables of other tools may lack them
    return np.logical_or.reduce(np.isnan(volumes[recorded]))


def _warn_of_other_volumes(volumes: Gains, cases: Sequence[str], classes: Sequence[str]) -> None:
    """Warn if tables have different true volumes (tables, cases, classes): their references or classes differ."""
    least, most = np.fmin.reduce(volumes), np.fmax.reduce(volumes)
    if differ := np.argwhere(most - least > SAME_VOLUME * most).tolist():
        case, name = differ[0]
        log.warning(
            "scored with other references or classes: in %s the true volume of %s is %.6g ml and %.6g ml%s",
            *(cases[case], classes[name], least[case, name], most[case, name]),
            f", and so on in {plural(len(differ), 'place')}" if differ[1:] else "",
        )


def _gains_by_class(
    model: Gains, baseline: Gains, empty: Sequence[NDArray[np.bool_]], classes: Sequence[str], metric: str
) -> dict[str, tuple[Gains, NDArray[np.bool_]]]:
    """Return the gains in each class and in their mean.

    ``model`` and ``baseline`` have the metric (runs, cases, classes), NaN where it is undefined. ``empty`` shows, for
    each of both, where this is because the reference is empty, too. The mean of a case is over the classes that are
    defined for it.

    Returns:
        By class: gains (runs, cases); and whether the metric of a case is undefined for one of the two models (cases,).
    """
    perfect = METRICS[metric].perfect
    if perfect is not None:  # undefined here, but not for another model or run: rightly, nothing is predicted
        somewhere = ~(np.isnan(model) & np.isnan(baseline)).all(axis=0)
        both = zip((model, baseline), empty, strict=True)
        model, baseline = (np.where(of_empty & somewhere, perfect, values) for values, of_empty in both)
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
            infinite = np.isnan(sums).any(axis=0)  # each misses or invents another structure
            counts = defined.sum(axis=-1)
            means: Gains = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            by_class[name] = (np.round(means, DIGITS), undefined[:, single].any(axis=-1) | infinite)
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


def _subjects(tables: Sequence[Sequence[Row]], cases: Sequence[str]) -> list[str]:
    """Return the person of each case: itself if no table names one. Raise DataError if tables name different ones."""
    known: dict[str, str] = {}
    for row in itertools.chain.from_iterable(tables):
        if row.subject and known.setdefault(row.case, row.subject) != row.subject:
            raise DataError(
                f"{row.case}: is of {known[row.case]} in one table and of {row.subject} in another: intervals count "
                "persons; evaluate again with the same --subjects"
            )
    return [known.get(case, case) for case in cases]


def _folds(tables: Sequence[Sequence[Row]], cases: Sequence[str]) -> list[str]:
    """Return the fold of each case if all runs have the same folds; otherwise empty names, as for a single training."""
    folds = [{row.case: row.fold for row in rows} for rows in tables]
    if any([each[case] for case in cases] != [folds[0][case] for case in cases] for each in folds):
        log.warning(
            "the runs have different folds: each counts as one training, and verdicts are on these networks, not on "
            "methods: cross-validate with the same folds to compare methods"
        )
        return ["" for _ in cases]
    return [folds[0][case] for case in cases]


def _correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return a family of comparisons with corrected p values."""
    corrected = holm([comparison.test.p for comparison in comparisons])
    number = len(comparisons)
    return [
        replace(comparison, p_holm=p, least_p_holm=min(number * comparison.test.least_p, 1.0))
        for comparison, p in zip(comparisons, corrected, strict=True)
    ]


def _shared(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the names that all lists hold, in the order of the first."""
    others = [set(other) for other in lists[1:]]
    return [name for name in dict.fromkeys(lists[0]) if all(name in other for other in others)]
