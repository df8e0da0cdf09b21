"""Summarise results over cases: mean, spread and interval of each metric by class."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from attention_unet.errors import plural
from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import Row, mean_dice
from attention_unet.scans.labels import FOREGROUND, MEAN

WORST = 5  # number of worst cases in the summary
DIGITS = {"dice": 4, "hd95_mm": 2, "nsd": 3}  # decimals of the mean of classes


def summarise(rows: Sequence[Row], case_warnings: CaseWarnings, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary over cases.

    An undefined value (both masks empty) enters no mean and is counted in ``n_undefined``. A distance to an empty mask
    is infinite, and then the mean over cases is infinite too. JSON has no infinity: the mean is None and ``n_infinite``
    is above 0; ``finite_mean`` is the mean over the other cases. The foreground mean of a metric is the mean of the
    means of the classes; None if a class that occurs has no mean.

    Args:
        rows: one row per case and class.
        case_warnings: warnings about the cases.
        settings: settings that the metrics depend on.

    Returns:
        Plain values: {"classes": {NAME: {METRIC: statistics}}, "foreground_mean": {METRIC: mean or None},
        "mean_of_classes": {METRIC: statistics of the means of the cases, None if a value is undefined},
        "foreground": statistics of the union of all classes or None, "worst_cases": {CASE: mean Dice}, "n_cases",
        "n_subjects", the warnings by name, "remarks": the warnings as sentences, "settings"}.
    """
    subject_of = _subjects(rows)
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.class_name, []).append(row)
    statistics = {
        name: {
            metric: _statistics(
                [getattr(row.metrics, metric) for row in class_rows], [subject_of[row.case] for row in class_rows]
            )
            for metric in METRICS
        }
        for name, class_rows in by_class.items()
    }
    classes = {name: metrics for name, metrics in statistics.items() if name != FOREGROUND}
    occurring = [name for name, metrics in classes.items() if metrics["dice"]["n"]]
    means = {metric: [classes[name][metric]["mean"] for name in occurring] for metric in METRICS}
    return {
        "classes": classes,
        "foreground_mean": {
            metric: sum(values) / len(values) if values and None not in values else None
            for metric, values in means.items()
        },
        "mean_of_classes": _statistics_of_means(rows, occurring),
        "foreground": statistics.get(FOREGROUND),
        "worst_cases": dict(list(mean_dice(rows).items())[:WORST]),
        "n_cases": len(subject_of),
        "n_subjects": len(set(subject_of.values())),
        **asdict(case_warnings),
        "remarks": case_warnings.sentences(len(subject_of)),
        "settings": dict(settings),
    }


def to_json(summary: Mapping[str, Any]) -> str:
    """Return the text of ``summary.json``."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def tabulate(summary: Mapping[str, Any]) -> Table:
    """Return the summary as a table: one row per class, one for their mean and one for the foreground."""
    title = f"{plural(summary['n_cases'], 'case')}, mean ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("class", overflow="fold", min_width=10)
    for heading in ("Dice", "95% interval", "HD95 mm", "NSD", "ml (true)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, metrics in summary["classes"].items():
        table.add_row(name, *_cells(metrics))
    means, statistics = summary["foreground_mean"], summary["mean_of_classes"]
    plain = {m: "-" if means[m] is None else f"{means[m]:.{digits}f}" for m, digits in DIGITS.items()}
    table.add_section()
    table.add_row(
        MEAN,
        _spread(statistics["dice"], 4, 3) if statistics["dice"] else plain["dice"],
        _interval(statistics["dice"]) if statistics["dice"] else "",
        _spread(statistics["hd95_mm"], 2, 2) if statistics["hd95_mm"] else plain["hd95_mm"],
        plain["nsd"],
        "",
    )
    if summary["foreground"]:
        table.add_row(FOREGROUND, *_cells(summary["foreground"]))
    return table


def print_table(summary: Mapping[str, Any], console: Console) -> None:
    """Print the summary, undefined and infinite values, the worst cases and the warnings."""
    lines = []
    for name, metrics in summary["classes"].items():
        if undefined := metrics["dice"]["n_undefined"]:
            lines.append(f"{name}: both masks are empty in {plural(undefined, 'case')}, left out of the means")
        if infinite := metrics["hd95_mm"]["n_infinite"]:
            others, mean = metrics["hd95_mm"]["n"] - infinite, metrics["hd95_mm"]["finite_mean"]
            rest = f"; mean of the others {mean:.2f} mm, n = {others}" if others else ""
            lines.append(f"{name}: missed or invented in {plural(infinite, 'case')}, where HD95 is infinite{rest}")
    if summary["worst_cases"]:
        worst = ", ".join(f"{case} {value:.3f}" for case, value in summary["worst_cases"].items())
        lines.append(f"worst cases, mean Dice: {worst}")
    console.print(tabulate(summary))
    for line in (*lines, *summary["remarks"]):
        console.print(line, markup=False, highlight=False)


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    """Return the cells of the table for a class."""
    return [
        _spread(metrics["dice"], 4, 3),
        _interval(metrics["dice"]),
        _spread(metrics["hd95_mm"], 2, 2),
        "-" if metrics["nsd"]["mean"] is None else f"{metrics['nsd']['mean']:.3f}",
        f"{metrics['volume_ml']['mean']:.2f} ({metrics['reference_volume_ml']['mean']:.2f})",
    ]


def _interval(statistics: Mapping[str, Any]) -> str:
    low, high = statistics["ci95"] or (None, None)
    return "-" if low is None else f"{low:.3f}-{high:.3f}"


def _spread(statistics: Mapping[str, Any], digits: int, digits_of_spread: int) -> str:
    if statistics["n_infinite"]:
        return "∞"
    if statistics["mean"] is None:
        return "-"
    if statistics["sd"] is None:
        return f"{statistics['mean']:.{digits}f}"
    return f"{statistics['mean']:.{digits}f} ± {statistics['sd']:.{digits_of_spread}f}"


def _subjects(rows: Sequence[Row]) -> dict[str, str]:
    """Return the subject of each case; a case without a subject is one itself."""
    return {row.case: row.subject or row.case for row in rows}


def _statistics_of_means(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """Return statistics of the mean over classes of each case; None if a metric is undefined for a class of a case."""
    subjects = _subjects(rows)
    statistics: dict[str, dict[str, Any] | None] = {}
    for metric in METRICS:
        values = {(row.case, row.class_name): getattr(row.metrics, metric) for row in rows}
        means = [
            sum(values.get((case, name), math.nan) for name in classes) / max(len(classes), 1) for case in subjects
        ]
        defined = classes and means and not any(map(math.isnan, means))
        statistics[metric] = _statistics(means, list(subjects.values())) if defined else None
    return statistics


def _statistics(values: Sequence[float], subjects: Sequence[str]) -> dict[str, Any]:
    """Return mean, standard deviation, median and 95% interval of the mean over cases; None if undefined."""
    known = [(value, subject) for value, subject in zip(values, subjects, strict=True) if not math.isnan(value)]
    finite = np.array([value for value, _ in known if math.isfinite(value)])
    infinite = len(known) - len(finite)
    whole = len(finite) > 0 and not infinite
    median = float(np.median([value for value, _ in known])) if known else math.nan
    low, high = interval_of_mean(finite, [subject for _, subject in known]) if whole else (math.nan, math.nan)
    return {
        "mean": float(finite.mean()) if whole else None,
        "finite_mean": float(finite.mean()) if len(finite) else None,
        "sd": float(finite.std(ddof=1)) if whole and len(finite) > 1 else None,
        "median": median if math.isfinite(median) else None,
        "ci95": [low, high] if math.isfinite(low) else None,
        "n": len(known),
        "n_infinite": infinite,
        "n_undefined": len(values) - len(known),
    }
