"""``history.csv``: a row of numbers for each validation of a training."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_rows, csv_text


def write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write rows of the same columns."""
    columns = list(history[0])
    write_text(file, csv_text([columns, *([row[name] for name in columns] for row in history)]))


def read_history(file: Path) -> list[dict[str, float]]:
    """Read them again; at least step, minutes, loss and dice.

    Raises:
        DataError: if it is no such table.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = [{name: float(value) for name, value in row.items()} for row in csv_rows(opened)]
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}): expected what a training writes") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{file}: is no table of numbers ({error}): expected what a training writes") from error
    lacking = {"step", "minutes", "loss", "dice"} - set(rows[0] if rows else ())
    if lacking:
        raise DataError(f"{file}: lacks {', '.join(sorted(lacking))}: expected what a training writes")
    return rows
