"""Results over cases: mean, spread and interval of each metric by class."""

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
from attention_unet.scans.labels import FOREGROUND

WORST = 5  # cases that are named
DIGITS = {"dice": 4, "hd95_mm": 2, "nsd": 3}  # of the mean of classes


def summarise(rows: Sequence[Row], remarks: CaseWarnings, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Summary over cases.

    An undefined value (both masks empty) enters no mean; it is counted in ``n_undefined``. A distance to an empty mask
    is infinite, and so is the mean over cases of which one is: JSON has no word for it, so the mean is None and
    ``n_infinite`` is above 0; ``finite_mean`` is the mean over the other cases. The foreground mean of a metric is the
    mean over the classes of their means; None if a class that occurs has none.

    Args:
        rows: one a case and class.
        remarks: on their cases.
        settings: whatever the metrics depend on.

    Returns:
        Plain values: {"classes": {NAME: {METRIC: statistics}}, "foreground_mean": {METRIC: mean or None},
        "mean_of_classes": {METRIC: statistics of the cases' means, None where a value is not defined},
        "foreground": statistics of all classes as one or None, "worst_cases": {CASE: mean Dice}, "n_cases", the
        remarks by their names and in words, "settings"}.
    """
    cases = {row.case for row in rows}
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.class_name, []).append(row)
    of_each = {
        name: {
            metric: _statistics([getattr(row.metrics, metric) for row in own], [row.subject or row.case for row in own])
            for metric in METRICS
        }
        for name, own in by_class.items()
    }
    classes = {name: of for name, of in of_each.items() if name != FOREGROUND}
    there = [name for name, of in classes.items() if of["dice"]["n"]]
    subjects = {row.subject or row.case for row in rows}
    means = {metric: [classes[name][metric]["mean"] for name in there] for metric in METRICS}
    return {
        "classes": classes,
        "foreground_mean": {
            metric: sum(values) / len(values) if values and None not in values else None
            for metric, values in means.items()
        },
        "mean_of_classes": _of_means(rows, there),
        "foreground": of_each.get(FOREGROUND),
        "worst_cases": dict(list(mean_dice(rows).items())[:WORST]),
        "n_cases": len(cases),
        "n_subjects": len(subjects),
        **asdict(remarks),
        "remarks": remarks.sentences(len(cases)),
        "settings": dict(settings),
    }


def to_json(summary: Mapping[str, Any]) -> str:
    """``summary.json``."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def tabulate(summary: Mapping[str, Any]) -> Table:
    """The summary as a row a class, one for their mean and one for the foreground, with their spread over cases."""
    title = f"{plural(summary['n_cases'], 'case')}, mean ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("class", overflow="fold", min_width=10)
    for heading in ("Dice", "95% interval", "HD95 mm", "NSD", "ml (true)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, of in summary["classes"].items():
        table.add_row(name, *_cells(of))
    mean, of = summary["foreground_mean"], summary["mean_of_classes"]
    plain = {m: "-" if mean[m] is None else f"{mean[m]:.{digits}f}" for m, digits in DIGITS.items()}
    table.add_section()
    table.add_row(
        "mean of classes",
        _spread(of["dice"], 4, 3) if of["dice"] else plain["dice"],
        _interval(of["dice"]) if of["dice"] else "",
        _spread(of["hd95_mm"], 2, 2) if of["hd95_mm"] else plain["hd95_mm"],
        plain["nsd"],
        "",
    )
    if summary["foreground"]:
        table.add_row(FOREGROUND, *_cells(summary["foreground"]))
    return table


def print_table(summary: Mapping[str, Any], console: Console) -> None:
    """Show the summary, and what is undefined or infinite."""
    console.print(tabulate(summary))
    for name, of in summary["classes"].items():
        if of["dice"]["n_undefined"]:
            text = f"in neither mask of {plural(of['dice']['n_undefined'], 'case')}, which are in no mean"
            console.print(f"{name}: {text}", markup=False, highlight=False)
        if of["hd95_mm"]["n_infinite"]:
            others, mean = of["hd95_mm"]["n"] - of["hd95_mm"]["n_infinite"], of["hd95_mm"]["finite_mean"]
            text = f"missed or invented in {plural(of['hd95_mm']['n_infinite'], 'case')}: HD95 is infinite there"
            text += f"; {mean:.2f} mm in the other {others}" if others else ""
            console.print(f"{name}: {text}", markup=False, highlight=False)
    if summary["worst_cases"]:
        named = ", ".join(f"{case} {value:.3f}" for case, value in summary["worst_cases"].items())
        console.print(f"worst cases, mean Dice: {named}", markup=False, highlight=False)
    for sentence in summary["remarks"]:
        console.print(sentence, markup=False, highlight=False)


def _cells(of: Mapping[str, Any]) -> list[str]:
    """What the table shows of a class."""
    return [
        _spread(of["dice"], 4, 3),
        _interval(of["dice"]),
        _spread(of["hd95_mm"], 2, 2),
        "-" if of["nsd"]["mean"] is None else f"{of['nsd']['mean']:.3f}",
        f"{of['volume_ml']['mean']:.2f} ({of['reference_volume_ml']['mean']:.2f})",
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


def _of_means(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, dict[str, Any] | None]:
    """Statistics of the mean over classes of each case, of the metrics that are defined for every class and case."""
    subjects = {row.case: row.subject or row.case for row in rows}
    found: dict[str, dict[str, Any] | None] = {}
    for metric in METRICS:
        values = {(row.case, row.class_name): getattr(row.metrics, metric) for row in rows}
        means = [
            sum(values.get((case, name), math.nan) for name in classes) / max(len(classes), 1) for case in subjects
        ]
        known = classes and means and not any(map(math.isnan, means))
        found[metric] = _statistics(means, list(subjects.values())) if known else None
    return found


def _statistics(values: Sequence[float], subjects: Sequence[str]) -> dict[str, Any]:
    """Mean, standard deviation, median and 95% interval of the mean over cases; None where there is none."""
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
