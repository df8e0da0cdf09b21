"""Write and read CSV tables; no cell can be run as a formula by a spreadsheet."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from attention_unet.errors import DataError
from attention_unet.files.broken_link import describe_unreadable

T = TypeVar("T")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # spreadsheets run a cell that starts with one of these
QUOTE = "'"  # spreadsheets show a cell that starts with this as text


def csv_text(rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return a table as text, one line per row, headings first. Texts that look like formulas are quoted.

    With tabs, as in BIDS, quotes have no meaning: tabs and line ends in a cell become spaces.
    """
    cells = [[_quote(cell) for cell in row] for row in rows]
    if delimiter == "\t":
        return "".join("\t".join(re.sub(r"[\t\r\n]", " ", str(cell)) for cell in row) + "\n" for row in cells)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(cells)
    return text.getvalue()


def parse_table(
    file: Path, build: Callable[[dict[str, str]], T], content: str, advice: str, delimiter: str = ","
) -> list[T]:
    """Read a CSV table and build a value from the cells of each row, by heading. Semicolons may replace commas.

    ``content`` says what the table holds, such as "metrics", and ``advice`` what was expected and what to do: both for
    the error message. With tabs, quotes have no meaning. Raise DataError if the file cannot be read, is not a table, or
    its rows are not what ``build`` needs.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:  # Excel starts tables with a byte order mark
            heading = lines.readline()
            lines.seek(0)
            if delimiter == "," and ";" in heading and "," not in heading:  # as Excel writes in some countries
                delimiter = ";"
            return [build(row) for row in csv_rows(lines, delimiter)]
    except OSError as error:
        raise DataError(f"{file}: {describe_unreadable(file, error, advice)}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        problem = f"no column {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{file}: not a table of {content} ({problem}): {advice}") from error


def csv_rows(lines: Iterable[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the cells of each row by heading, without the quotes of ``csv_text``.

    Raise csv.Error if the text is not a table, ValueError if a heading is there twice, or a row has more or fewer cells
    than there are headings.
    """
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL)
    headings = [cell.removeprefix(QUOTE) for cell in next(reader, [])]
    if twice := [heading for heading, count in Counter(headings).items() if count > 1 and heading.strip()]:
        raise ValueError(f"the heading {twice[0]} is there twice; rename one")
    for row in reader:
        if row and len(row) != len(headings):
            raise ValueError(f"line {reader.line_num} has {len(row)} cells for {len(headings)} headings")
        if row:
            yield dict(zip(headings, (cell.removeprefix(QUOTE) for cell in row), strict=True))


def _quote(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith((*FORMULA, QUOTE)):
        return cell
    try:
        float(cell)
    except ValueError:
        return QUOTE + cell
    return cell
