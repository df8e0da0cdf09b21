"""The table of all cases: a row a case and class, as ``metrics.csv`` keeps it."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.evaluation.metrics import METRICS, CaseMetrics
from attention_unet.files.csv_text import csv_rows, csv_text
from attention_unet.scans.labels import FOREGROUND


@dataclass(frozen=True)
class Row:
    """Metrics of one class of one case.

    Attributes:
        case: id of the case.
        class_name: name of the class.
        metrics: of it.
        subject: the person; empty if the case is a person of its own.
        fold: of the cross-validation whose training predicted the case; empty of any other evaluation.
    """

    case: str
    class_name: str
    metrics: CaseMetrics
    subject: str = ""
    fold: str = ""


def to_csv(rows: Sequence[Row]) -> str:
    """``metrics.csv``: a row a case and class. Undefined values are written nan, distances to nothing inf."""
    cells = (
        [row.case, row.class_name, *(f"{getattr(row.metrics, name):.6g}" for name in METRICS), row.subject, row.fold]
        for row in rows
    )
    return csv_text([["case", "class", *METRICS, "subject", "fold"], *cells])


def from_csv(file: Path) -> list[Row]:
    """The rows of a ``metrics.csv``; metrics that an older one lacks are NaN.

    Raises:
        DataError: if it is not there, or not such a table.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = [
                Row(
                    row["case"],
                    row["class"],
                    CaseMetrics(**{name: float(row.get(name, "nan")) for name in METRICS}),
                    row.get("subject", ""),
                    row.get("fold", ""),
                )
                for row in csv_rows(opened)
            ]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}): expected what evaluate writes") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: is no table of metrics ({error}): expected what evaluate writes") from error
    twice = [key for key, times in Counter((row.case, row.class_name) for row in rows).items() if times > 1]
    if twice:
        raise DataError(f"{file}: tells of {', '.join(twice[0])} more than once: expected a row a case and class")
    return rows


def mean_dice(rows: Sequence[Row]) -> dict[str, float]:
    """Mean Dice of each case over the classes for which it is defined, the worst first."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.class_name != FOREGROUND and not math.isnan(row.metrics.dice):
            values[row.case].append(row.metrics.dice)
    means = {case: sum(of) / len(of) for case, of in values.items()}
    return dict(sorted(means.items(), key=lambda item: (item[1], item[0])))
