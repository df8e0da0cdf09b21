"""Find the scans that a path or a table names, and report what lies beside them and is not read."""

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attention_unet.dataset.cases import BIDS, Case
from attention_unet.dataset.channel_files import CHANNEL_SUFFIX, group_channels
from attention_unet.dataset.reading import without_absent_files
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.broken_link import is_broken_link
from attention_unet.files.csv_text import parse_table
from attention_unet.files.prediction_record import RECORD, is_of_prediction
from attention_unet.inference.channels import are_swapped
from attention_unet.scans.dicom import holds_images, is_dicom, is_series
from attention_unet.scans.volume_files import ENDINGS, is_volume, list_series, list_unread, list_volumes, stem

log = logging.getLogger(__name__)

SHOWN = 5  # names in a message
SEGMENTATION = ".seg.nrrd"  # ending of masks of 3D Slicer
DEEPEST = 6  # levels of folders that are searched for scans to report
TABLE = ".csv"
ADVICE = "expected the heading case, and one for the files of each channel, with commas: case,T1w,FLAIR"
FORBIDDEN = re.compile(r"[/\\\0]|^\.|^$")  # in names of masks


def find_inputs(source: Path, channels: int, may_miss: bool = False, alone: bool = True) -> list[Case]:
    """Return the cases of a file, of the folder of a DICOM series, or of a folder of these. Files of single channels
    are grouped by their suffixes.

    With ``may_miss`` the file of a channel may be missing; otherwise reading such a case fails. If the folder is
    predicted ``alone``, there is a warning about scans in folders below it. Raise ConfigError if there is no volume.
    """
    if not (source.exists() or source.is_symlink()):
        raise ConfigError(f"{source}: does not exist: check the path")
    if source.name in ("", ".."):  # "." and ".." have no name to call a case by
        source = source.resolve()
    if is_volume(source):
        files, not_read = [source], []
    elif source.is_dir():
        if alone and is_of_prediction(source):
            raise ConfigError(f"{source}: holds predictions ({RECORD}): name the folder of the scans")
        volumes = list_volumes(source)
        masks = [path for path in volumes if path.name.lower().endswith(SEGMENTATION)]  # 3D Slicer saves them so
        files = [*sorted({*volumes} - {*masks}), *series_below(source)]
        files = files or ([source] if is_series(source) else masks)
        not_read = _not_read(source, alone, [] if files == masks else masks) if files != [source] else []
        if files and not_read:
            log.warning("%s: not predicted: %s", source, ", ".join(not_read))
    elif is_dicom(source):
        raise ConfigError(f"{source}: is a file of a DICOM series: name the folder of the series")
    else:
        raise ConfigError(f"{source}: is no folder and no volume ({', '.join(ENDINGS)}): expected one of these")
    if not files and (source / BIDS).is_file():
        raise ConfigError(f"{source}: is a BIDS dataset: name the suffix of its scans, such as --bids-suffix T1w")
    if not files and not_read:
        raise ConfigError(
            f"{source}: holds no scan itself, but {', '.join(not_read)}: name one folder, or add --recursive"
        )
    if not files:
        raise ConfigError(
            f"{source}: holds no volume ({', '.join(ENDINGS)}) and no DICOM series: expected the images to predict"
        )
    if channels == 1 and len({match["channel"] for file in files if (match := CHANNEL_SUFFIX.match(stem(file)))}) > 1:
        log.warning(
            "%s: names end in _0000, _0001, as channels of one scan do, but the model takes one channel: each file is "
            "predicted alone",
            source,
        )
    cases = [Case(name, paths) for name, paths in sorted(group_channels(files, channels).items())]
    return [without_absent_files(case) for case in cases] if may_miss else cases


def series_below(source: Path) -> list[Path]:
    """Return the folders of DICOM series in a folder. Warn about those that hold no image."""
    folders = list_series(source)
    without = [folder.name for folder in folders if not holds_images(folder)]
    if without:
        log.warning("%s: not predicted, as they hold no DICOM image: %s", source, first_few(without))
    return [folder for folder in folders if folder.name not in without]


def _not_read(source: Path, alone: bool, masks: Sequence[Path]) -> list[str]:
    """Return what looks like scans in a folder and is not read: masks, other formats and, if ``alone``, its folders."""
    found = ["its own DICOM files"] if is_series(source) else []
    found += [*(path.name for path in masks), *list_unread(source)]
    read = list_series(source)
    for path in sorted(source.iterdir()):
        if alone and os.path.isdir(path) and not path.name.startswith(".") and path not in read:
            scan = _first_scan_below(path, DEEPEST)
            if scan:
                found.append(f"{scan.parent.relative_to(source)}{os.sep}")
    return found[:SHOWN] + [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)


def _leads_nowhere(path: Path) -> bool:
    """Return whether a path is a link to nothing, as DataLad leaves it, or an empty file that is called DICOM."""
    empty = path.suffix.lower() in (".dcm", ".ima") and os.path.isfile(path) and not path.stat().st_size
    return empty or is_broken_link(path)


def _first_scan_below(folder: Path, levels: int) -> Path | None:
    """Return a scan in a folder, or up to some levels of folders below it; None if there is none. A file that may be a
    scan in a format that is not read counts.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError:  # a folder that may not be read
        return None
    scan = next((path for path in paths if is_volume(path) or is_series(path) or _leads_nowhere(path)), None)
    scan = scan or next((folder / name for name in list_unread(folder)), None)
    if scan or levels == 1:
        return scan
    deeper = [path for path in paths if os.path.isdir(path) and not path.is_symlink() and not path.name.startswith(".")]
    return next((scan for path in deeper if (scan := _first_scan_below(path, levels - 1))), None)


def read_scan_table(file: Path, channels: Sequence[str], may_miss: bool) -> list[Case]:
    """Read a table with the column ``case`` and a column for each channel, in the order of the model.

    Paths are relative to the folder of the table. A heading that is the name of a channel must be in the place of that
    channel; other headings are free. A model of several channels also takes one column, of files with all. With
    ``may_miss`` a cell may be empty, for a scan without this channel.

    Raise ConfigError if the table has other columns, or in another order, or a case is named twice, or cannot be the
    name of a file; DataError if the file is not a table.
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
    if any("\0" in cell for cell in cells):
        raise ConfigError(f"{file}: {case} has a byte 0 in a cell: expected the path of a scan; save the table again")
    absent = tuple(number for number, cell in enumerate(cells) if not cell.strip())
    if len(absent) == len(cells) or (absent and not may_miss):
        advice = "" if may_miss else "; a model trained with augmentation.drop_channel predicts without"
        raise ConfigError(f"{file}: {case} has an empty cell: expected the path of a scan{advice}")
    return Case(case, tuple(file.parent / cell.strip() for cell in cells if cell.strip()), absent=absent)
