"""Results over cases: mean, spread and interval of each metric by class."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from attention_unet.errors import counted
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.remarks import Remarks
from attention_unet.evaluation.rows import FOREGROUND, Row, mean_dice

RESAMPLES = 2000
WORST = 5  # cases that are named


def summarise(rows: Sequence[Row], remarks: Remarks, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Summary over cases.

    A value that is not finite (both masks empty, or a distance to an empty mask) enters no mean; it is counted in
    ``n_undefined``. The foreground mean of a metric is the mean over the classes of their means.

    Args:
        rows: one a case and class.
        remarks: on their cases.
        settings: whatever the metrics depend on.

    Returns:
        Plain values: {"classes": {NAME: {METRIC: statistics}}, "foreground_mean": {METRIC: mean or None},
        "foreground": statistics of all classes as one or None, "worst_cases": {CASE: mean Dice}, "n_cases", the
        remarks by their names and in words, "settings"}.
    """
    cases = {row.case for row in rows}
    of_each = {
        name: {
            metric: _statistics([getattr(row.metrics, metric) for row in rows if row.class_name == name])
            for metric in METRICS
        }
        for name in dict.fromkeys(row.class_name for row in rows)
    }
    classes = {name: of for name, of in of_each.items() if name != FOREGROUND}
    means = {metric: [of[metric]["mean"] for of in classes.values()] for metric in METRICS}
    return {
        "classes": classes,
        "foreground_mean": {
            metric: sum(defined) / len(defined) if (defined := [v for v in values if v is not None]) else None
            for metric, values in means.items()
        },
        "foreground": of_each.get(FOREGROUND),
        "worst_cases": dict(list(mean_dice(rows).items())[:WORST]),
        "n_cases": len(cases),
        **asdict(remarks),
        "remarks": remarks.sentences(len(cases)),
        "settings": dict(settings),
    }


def interval_of_mean(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Bootstrap 95% interval of the mean over cases, the same each time; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan, math.nan
    known = np.asarray(values, dtype=np.float64)
    draws = np.random.RandomState(0).randint(len(known), size=(RESAMPLES, len(known)))
    low, high = np.percentile(known[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def to_json(summary: Mapping[str, Any]) -> str:
    """``summary.json``."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def tabulate(summary: Mapping[str, Any]) -> Table:
    """The summary as a row a class, one for their mean and one for the foreground, with their spread over cases."""
    title = f"{counted(summary['n_cases'], 'case')}, mean ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("class", overflow="fold", min_width=10)
    for heading in ("Dice", "95% interval", "HD95 mm", "NSD", "ml (true)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, of in summary["classes"].items():
        table.add_row(name, *_cells(of))
    mean = summary["foreground_mean"]
    figures = [
        "-" if mean[m] is None else f"{mean[m]:.{digits}f}" for m, digits in (("dice", 4), ("hd95_mm", 2), ("nsd", 3))
    ]
    table.add_section()
    table.add_row("mean of classes", figures[0], "", *figures[1:], "")
    if summary["foreground"]:
        table.add_row(FOREGROUND, *_cells(summary["foreground"]))
    return table


def print_table(summary: Mapping[str, Any], console: Console) -> None:
    """Show the summary, and what is in no mean."""
    console.print(tabulate(summary))
    for name, of in summary["classes"].items():
        undefined = {metric: of[metric]["n_undefined"] for metric in ("dice", "hd95_mm") if of[metric]["n_undefined"]}
        if undefined:
            counts = ", ".join(f"{metric} in {n}" for metric, n in undefined.items())
            console.print(f"{name}: not defined and in no mean: {counts} of the cases", markup=False, highlight=False)
    if summary["worst_cases"]:
        named = ", ".join(f"{case} {value:.3f}" for case, value in summary["worst_cases"].items())
        console.print(f"worst cases, mean Dice: {named}", markup=False, highlight=False)
    for sentence in summary["remarks"]:
        console.print(sentence, markup=False, highlight=False)


def _cells(of: Mapping[str, Any]) -> list[str]:
    """What the table shows of a class."""
    interval = of["dice"]["ci95"]
    return [
        _spread(of["dice"], 4, 3),
        "-" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}",
        _spread(of["hd95_mm"], 2, 2),
        "-" if of["nsd"]["mean"] is None else f"{of['nsd']['mean']:.3f}",
        f"{of['volume_ml']['mean']:.2f} ({of['reference_volume_ml']['mean']:.2f})",
    ]


def _spread(statistics: Mapping[str, Any], digits: int, digits_of_spread: int) -> str:
    if statistics["mean"] is None:
        return "-"
    if statistics["sd"] is None:
        return f"{statistics['mean']:.{digits}f}"
    return f"{statistics['mean']:.{digits}f} ± {statistics['sd']:.{digits_of_spread}f}"


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation, median and a bootstrap 95% interval of the mean over cases, of the finite values; what
    one case does not tell is None.
    """
    finite = np.array([v for v in values if math.isfinite(v)])
    undefined = len(values) - len(finite)
    if len(finite) == 0:
        return {"mean": None, "sd": None, "median": None, "ci95": None, "n": 0, "n_undefined": undefined}
    return {
        "mean": float(finite.mean()),
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else None,
        "median": float(np.median(finite)),
        "ci95": list(interval_of_mean(finite)) if len(finite) > 1 else None,
        "n": len(finite),
        "n_undefined": undefined,
    }
