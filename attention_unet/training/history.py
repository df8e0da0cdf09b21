"""Write and read ``history.csv``: one row of numbers per validation of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table

ADVICE = "expected the history that a training writes; remove it"
REQUIRED = {"step", "minutes", "loss", "dice"}


def write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write rows that have the same columns."""
    columns = list(history[0])
    write_text(file, csv_text([columns, *([row[name] for name in columns] for row in history)]))


def read_history(file: Path) -> list[dict[str, float]]:
    """Read the rows; each has at least step, minutes, loss and dice.

    Raises:
        DataError: if the file is not such a table.
    """
    rows = parse_table(file, lambda row: {name: float(value) for name, value in row.items()}, "numbers", ADVICE)
    missing = REQUIRED - set(rows[0] if rows else ())
    if missing:
        raise DataError(f"{file}: lacks {', '.join(sorted(missing))}: {ADVICE}")
    return rows
