"""Write and read the validations of a training: ``history.csv``, one row each; ``validations.csv``, case by case."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attention_unet.errors import DataError
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table

ADVICE = "expected the history that a training writes; remove it"
FEWEST = 5  # cases that two validations must share to be compared
REQUIRED = {"step", "minutes", "loss", "dice"}


class CaseDice(NamedTuple):
    """Dice of a class in a held-out case after a training step; NaN if reference and prediction are empty."""

    step: int
    case: str
    class_name: str
    dice: float


def write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write rows that have the same columns."""
    columns = list(history[0])
    write_text(file, csv_text([columns, *([row[name] for name in columns] for row in history)]))


def read_history(file: Path) -> list[dict[str, float]]:
    """Read the rows, with at least step, minutes, loss and dice. Raise DataError if the file is not such a table."""
    rows = parse_table(file, lambda row: {name: float(value) for name, value in row.items()}, "numbers", ADVICE)
    missing = REQUIRED - set(rows[0] if rows else ())
    if missing:
        raise DataError(f"{file}: lacks {', '.join(sorted(missing))}: {ADVICE}")
    return rows


def find_fall(rows: Sequence[CaseDice]) -> tuple[int, float]:
    """Compare the last validation with each earlier one, over the cases and classes of both.

    Returns:
        Step of the best validation, and by how much the mean Dice of the last is lower; 0 if this is less than twice
        its standard error over the cases, or they share fewer than five.
    """
    by_step: dict[int, dict[tuple[str, str], float]] = {}
    for row in rows:
        by_step.setdefault(row.step, {})[row.case, row.class_name] = row.dice
    last = by_step.pop(max(by_step, default=0), {})
    worst = (0, 0.0)
    for step, scores in by_step.items():
        lost: dict[str, list[float]] = {}
        for key in scores.keys() & last.keys():
            if math.isfinite(difference := scores[key] - last[key]):
                lost.setdefault(key[0], []).append(difference)
        by_case = [statistics.fmean(of_case) for of_case in lost.values()]
        if len(by_case) >= FEWEST:
            fall, error = statistics.fmean(by_case), statistics.stdev(by_case) / math.sqrt(len(by_case))
            if fall > max(worst[1], 2 * error):
                worst = (step, fall)
    return worst


def write_validations(file: Path, rows: Sequence[CaseDice]) -> None:
    """Write the Dice of each case and class in each validation."""
    write_text(file, csv_text([["step", "case", "class", "dice"], *rows]))


def read_validations(file: Path) -> list[CaseDice]:
    """Read the result of ``write_validations``. Raise DataError if the file is not such a table."""

    def build(row: dict[str, str]) -> CaseDice:
        return CaseDice(int(row["step"]), row["case"], row["class"], float(row["dice"]))

    return parse_table(file, build, "validations", "expected the validations that a training writes; remove it")
