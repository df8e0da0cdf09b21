"""Which scans a path names, and what beside them is passed over."""

import logging
import os
from itertools import chain
from pathlib import Path

from attention_unet.data.cases import Case, group_channels
from attention_unet.data.dicom import is_dicom, is_series
from attention_unet.data.volumes import ENDINGS, is_volume, list_volumes
from attention_unet.errors import ConfigError

log = logging.getLogger(__name__)

SHOWN = 5  # names in a message
OTHER_FORMATS = (".hdr", ".img", ".mgz", ".mgh", ".mnc")  # of scans, which are not read


def find_inputs(source: Path, channels: int) -> list[Case]:
    """Cases of a file, of the folder of a DICOM series, or of a folder of these; files of single channels are grouped
    by their suffixes.

    Raises:
        ConfigError: if there is no volume.
    """
    if not source.exists():
        raise ConfigError(f"{source}: does not exist: check the path")
    if is_volume(source):
        files = [source]
    elif source.is_dir():
        files = [*list_volumes(source), *(folder for folder in sorted(source.iterdir()) if is_series(folder))]
        files = [source] if not files and is_series(source) else files
        passed_over = _passed_over(source) if files != [source] else []
        if files and passed_over:
            log.warning("warning: %s: not predicted: %s", source, ", ".join(passed_over))
    elif is_dicom(source):
        raise ConfigError(f"{source}: is one slice of a DICOM series: name the folder of the series")
    else:
        raise ConfigError(f"{source}: is no folder and no volume ({', '.join(ENDINGS)}): expected one of these")
    if not files:
        if passed_over:
            raise ConfigError(f"{source}: holds no scan itself, but {', '.join(passed_over)}: name one folder of scans")
        raise ConfigError(
            f"{source}: holds no volume ({', '.join(ENDINGS)}) and no DICOM series: expected the images to predict"
        )
    return [Case(name, paths) for name, paths in sorted(group_channels(files, channels).items())]


def _passed_over(source: Path) -> list[str]:
    """What of a folder looks like scans and is not read: in folders of it, or in other formats."""
    found = ["its own DICOM files"] if is_series(source) else []
    for path in sorted(source.iterdir()):
        if path.suffix.lower() in OTHER_FORMATS and path.is_file():
            found.append(path.name)
        if path.is_dir() and not is_series(path):
            deeper = next((p for p in chain(path.glob("*"), path.glob("*/*")) if is_volume(p) or is_series(p)), None)
            if deeper:
                found.append(f"{deeper.parent.relative_to(source)}{os.sep}")
    return found[:SHOWN] + [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
