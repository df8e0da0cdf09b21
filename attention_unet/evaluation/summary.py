"""Summarise results over cases: mean, spread and interval of each metric by class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import Row, mean_dice
from attention_unet.scans.labels import FOREGROUND

WORST = 5  # number of worst cases in the summary


@dataclass(frozen=True)
class Statistics:
    """Statistics of a metric over cases.

    An undefined value (both masks empty) enters no mean. A distance to an empty mask is infinite; then the mean is
    infinite too, which JSON cannot hold: it is None.

    Attributes:
        mean: mean over cases; None if there is none, or if it is infinite.
        finite_mean: mean over the cases with a finite value.
        sd: standard deviation; None like the mean, and for one case.
        median: median; None if it is infinite.
        ci95: 95% interval of the mean.
        n: number of cases with a value, infinite ones included.
        n_infinite: number of cases with an infinite value.
        n_undefined: number of cases without a value.
    """

    mean: float | None
    finite_mean: float | None
    sd: float | None
    median: float | None
    ci95: tuple[float, float] | None
    n: int
    n_infinite: int
    n_undefined: int


@dataclass(frozen=True)
class Summary:
    """Results over cases.

    Attributes:
        classes: by class and metric.
        foreground_mean: by metric, mean of the means of the classes; None if a class that occurs has no mean.
        mean_of_classes: by metric, statistics of the mean over classes of each case; None if a value is undefined.
        foreground: by metric, for the union of all classes; None if that was not scored.
        worst_cases: mean Dice of the worst cases, the worst first.
        n_cases: number of cases.
        n_subjects: number of subjects.
        warnings: warnings about the cases.
        settings: settings that the metrics depend on.
    """

    classes: Mapping[str, Mapping[str, Statistics]]
    foreground_mean: Mapping[str, float | None]
    mean_of_classes: Mapping[str, Statistics | None]
    foreground: Mapping[str, Statistics] | None
    worst_cases: Mapping[str, float]
    n_cases: int
    n_subjects: int
    warnings: CaseWarnings
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``summary.json``, with the warnings by name, and as sentences in "warnings"."""
        plain = asdict(self)
        warnings, settings = plain.pop("warnings"), plain.pop("settings")
        return {**plain, **warnings, "warnings": self.warnings.sentences(self.n_cases), "settings": settings}


def summarise(rows: Sequence[Row], case_warnings: CaseWarnings, settings: Mapping[str, Any]) -> Summary:
    """Return the summary over cases."""
    subject_of = {row.case: row.subject or row.case for row in rows}  # a case without a subject is one itself
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.class_name, []).append(row)
    statistics = {
        name: {
            metric: _statistics(
                metric,
                [getattr(row.metrics, metric) for row in class_rows],
                [subject_of[row.case] for row in class_rows],
            )
            for metric in METRICS
        }
        for name, class_rows in by_class.items()
    }
    classes = {name: metrics for name, metrics in statistics.items() if name != FOREGROUND}
    occurring = [name for name, metrics in classes.items() if metrics["dice"].n]
    return Summary(
        classes,
        foreground_mean={metric: _mean([classes[name][metric].mean for name in occurring]) for metric in METRICS},
        mean_of_classes=_statistics_of_means(rows, occurring, subject_of),
        foreground=statistics.get(FOREGROUND),
        worst_cases=dict(list(mean_dice(rows).items())[:WORST]),
        n_cases=len(subject_of),
        n_subjects=len(set(subject_of.values())),
        warnings=case_warnings,
        settings=settings,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if there are no values, or one is None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _statistics_of_means(
    rows: Sequence[Row], classes: Sequence[str], subjects: Mapping[str, str]
) -> dict[str, Statistics | None]:
    """Return statistics of the mean over classes of each case; None if a metric is undefined for a class of a case."""
    statistics: dict[str, Statistics | None] = {}
    for metric in METRICS:
        values = {(row.case, row.class_name): getattr(row.metrics, metric) for row in rows}
        means = [
            sum(values.get((case, name), math.nan) for name in classes) / max(len(classes), 1) for case in subjects
        ]
        defined = classes and means and not any(map(math.isnan, means))
        statistics[metric] = _statistics(metric, means, list(subjects.values())) if defined else None
    return statistics


def _statistics(metric: str, values: Sequence[float], subjects: Sequence[str]) -> Statistics:
    known = [(value, subject) for value, subject in zip(values, subjects, strict=True) if not math.isnan(value)]
    finite = np.array([value for value, _ in known if math.isfinite(value)])
    infinite = len(known) - len(finite)
    whole = len(finite) > 0 and not infinite
    median = float(np.median([value for value, _ in known])) if known else math.nan
    low, high = interval_of_mean(finite, [subject for _, subject in known]) if whole else (math.nan, math.nan)
    least, greatest = METRICS[metric].range
    return Statistics(
        mean=float(finite.mean()) if whole else None,
        finite_mean=float(finite.mean()) if len(finite) else None,
        sd=float(finite.std(ddof=1)) if whole and len(finite) > 1 else None,
        median=median if math.isfinite(median) else None,
        ci95=(max(low, least), min(high, greatest)) if math.isfinite(low) else None,
        n=len(known),
        n_infinite=infinite,
        n_undefined=len(values) - len(known),
    )
