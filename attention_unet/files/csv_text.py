"""Tables as every program reads them, and none runs them."""

import csv
import io
from collections.abc import Iterable, Iterator

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets take a cell for that begins so
QUOTE = "'"  # before which they take it for a text


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """A table with commas, a line a row, the first of them its headings; texts that begin as formulas are quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def csv_rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Rows of such a table by their headings, as they were before they were quoted.

    Raises:
        csv.Error: if it is none.
        ValueError: if a row has more or fewer cells than there are headings.
    """
    reader = csv.reader(lines)
    headings = [_plain(cell) for cell in next(reader, [])]
    for row in reader:
        if row and len(row) != len(headings):
            raise ValueError(f"line {reader.line_num} has {len(row)} cells for {len(headings)} headings")
        if row:
            yield dict(zip(headings, map(_plain, row), strict=True))


def _harmless(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith((*FORMULA, QUOTE)):
        return cell
    try:
        float(cell)
    except ValueError:
        return QUOTE + cell
    return cell


def _plain(cell: str) -> str:
    return cell.removeprefix(QUOTE)
