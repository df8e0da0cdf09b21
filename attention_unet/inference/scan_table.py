"""Read a table of scans to predict: any files of any folders, one case a row."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.csv_text import parse_table
from attention_unet.inference.channels import are_swapped

ENDING = ".csv"
ADVICE = "expected the heading case, and one for the files of each channel, with commas: case,T1w,FLAIR"
FORBIDDEN = re.compile(r"[/\\\0]|^\.|^$")  # in names of masks


def read_scan_table(file: Path, channels: Sequence[str], may_miss: bool) -> list[Case]:
    """Read a table with the column ``case`` and a column for each channel, in the order of the model.

    Paths are relative to the folder of the table.

    Args:
        file: CSV file.
        channels: names of the channels of the model. A heading that is the name of a channel must be in the place of
            that channel; other headings are free. A model of several channels also takes one column, of files with all.
        may_miss: whether a cell may be empty, for a scan without this channel.

    Raises:
        ConfigError: if the table has other columns, or in another order, or a case is named twice, or cannot be the
            name of a file.
        DataError: if the file is not a table.
    """
    rows = parse_table(file, lambda row: (row.pop("case").strip(), row), "scans", ADVICE)
    if not rows:
        raise ConfigError(f"{file}: names no scan: {ADVICE}")
    headings = [heading.strip() for heading in rows[0][1]]
    if len(headings) not in (1, len(channels)):
        raise ConfigError(f"{file}: has {len(headings)} columns of files, the model takes {len(channels)}: {ADVICE}")
    if len(headings) > 1 and are_swapped(headings, channels):
        wanted = ",".join(channels)
        raise ConfigError(
            f"{file}: has the columns {','.join(headings)}: the model takes {wanted}, in this order: reorder them"
        )
    if unfit := [case for case, _ in rows if FORBIDDEN.search(case)]:
        raise ConfigError(f"{file}: {first_few(unfit)}: cannot be the name of a mask: expected one without / and \\")
    if again := [case for case, count in Counter(case for case, _ in rows).items() if count > 1]:
        raise ConfigError(f"{file}: names {first_few(again)} twice: keep one row")
    return [_case(file, case, [*cells.values()], may_miss) for case, cells in rows]


def _case(file: Path, case: str, cells: list[str], may_miss: bool) -> Case:
    absent = tuple(number for number, cell in enumerate(cells) if not cell.strip())
    if len(absent) == len(cells) or (absent and not may_miss):
        advice = "" if may_miss else "; a model trained with augmentation.drop_channel predicts without"
        raise ConfigError(f"{file}: {case} has an empty cell: expected the path of a scan{advice}")
    return Case(case, tuple(file.parent / cell.strip() for cell in cells if cell.strip()), absent=absent)
