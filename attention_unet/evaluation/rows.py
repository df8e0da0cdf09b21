"""Write and read ``metrics.csv``: one row per case and class."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.evaluation.evaluated_files import ADVICE
from attention_unet.evaluation.metrics import METRICS, CaseMetrics
from attention_unet.files.csv_text import csv_text, parse_table
from attention_unet.scans.labels import FOREGROUND


@dataclass(frozen=True)
class Row:
    """Metrics of one class of one case."""

    case: str  # id
    class_name: str
    metrics: CaseMetrics
    subject: str = ""  # the person; empty if each case is a person
    fold: str = ""  # of the cross-validation that held out the case; empty in other evaluations


def metrics_to_csv(rows: Sequence[Row]) -> str:
    """Return the text of ``metrics.csv``. Undefined values are written nan, distances to an empty mask inf."""
    cells = (
        [row.case, row.class_name, *(f"{getattr(row.metrics, name):.6g}" for name in METRICS), row.subject, row.fold]
        for row in rows
    )
    return csv_text([["case", "class", *METRICS, "subject", "fold"], *cells])


def read_metrics(file: Path) -> list[Row]:
    """Read the rows of a ``metrics.csv``. Metrics that an older file lacks are NaN.

    Raise DataError if the file cannot be read or is not such a table.
    """
    rows = parse_table(file, _parse, "metrics", ADVICE)
    repeated = [key for key, times in Counter((row.case, row.class_name) for row in rows).items() if times > 1]
    if repeated:
        case, class_name = repeated[0]
        raise DataError(f"{file}: case {case}, class {class_name} appears twice: expected one row each; evaluate again")
    return rows


def mean_dice(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean Dice of each case over the classes that define it, the lowest first."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.class_name != FOREGROUND and not math.isnan(row.metrics.dice):
            values[row.case].append(row.metrics.dice)
    means = {case: sum(dice) / len(dice) for case, dice in values.items()}
    return dict(sorted(means.items(), key=lambda item: (item[1], item[0])))


def _parse(row: Mapping[str, str]) -> Row:
    return Row(
        row["case"],
        row["class"],
        CaseMetrics(**{name: float(row.get(name) or "nan") for name in METRICS}),
        row.get("subject", ""),
        row.get("fold", ""),
    )
