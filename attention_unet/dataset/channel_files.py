"""Group files of single channels by case."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.scans.volume_files import files_by_name, stem

CHANNEL_SUFFIX = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def group_channels(
    paths: Iterable[Path], channels: int | None = None, wanted: Collection[str] = ()
) -> dict[str, tuple[Path, ...]]:
    """Group image files by case.

    Suffixes _0000, _0001, ... are channels if all of this holds:

    - Every file has one, or a file of a wanted case has one. Without wanted cases it is also enough that several
      channels are expected or found, that one is number 0, and that some case has several files.
    - Their numbers are below ``channels`` or, if that is unknown (None), count from 0 without a gap. If wanted cases
      have suffixes, the numbers of other cases do not count.
    - The digits are not part of wanted case ids: see below.

    If not, each file is a case. A file without suffix among others is a case, too. A missing file of a case is listed
    by its expected name, and reading the case fails.

    ``wanted`` are expected case ids. If none of them results from suffixes but a whole file name is one of them, the
    digits belong to the case ids. Raise DataError if a case exists twice.
    """
    named = files_by_name(paths)
    by_case: dict[str, dict[int, Path]] = defaultdict(dict)
    for name, path in named.items():
        if match := CHANNEL_SUFFIX.match(name):
            by_case[match["case"]][int(match["channel"])] = path
    compared = [by_case[case] for case in wanted if case in by_case] or list(by_case.values())
    numbers = {number for files in compared for number in files}
    channels = channels or len(numbers)
    digits_in_ids = by_case.keys().isdisjoint(wanted) and any(name in wanted for name in named)
    others = {name: (path,) for name, path in named.items() if not CHANNEL_SUFFIX.match(name)}
    several = not wanted and channels > 1 and 0 in numbers and any(len(files) > 1 for files in by_case.values())
    suffixed = not digits_in_ids and (several or not (others and by_case.keys().isdisjoint(wanted)))
    if suffixed and numbers <= set(range(channels)):
        for case in sorted(by_case.keys() & others.keys() & set(wanted or others)):
            raise DataError(f"{others[case][0]}: the case exists twice, also with the suffix of a channel: keep one")
        return {case: _fill_channels(files, case, channels) for case, files in by_case.items()} | others
    return {name: (path,) for name, path in named.items()}


def surplus_channels(paths: Iterable[Path], channels: int, wanted: Collection[str]) -> dict[str, Path]:
    """Return a file by wanted case that has one with the suffix of a further channel than ``channels``."""
    surplus: dict[str, Path] = {}
    for name, path in files_by_name(paths).items():
        match = CHANNEL_SUFFIX.match(name)
        if match and match["case"] in wanted and int(match["channel"]) >= channels:
            surplus[match["case"]] = path
    return surplus


def case_of_channel(path: Path) -> str:
    """Return the case id of a file of a single channel; the name of another one, without ending."""
    match = CHANNEL_SUFFIX.match(stem(path))
    return match["case"] if match else stem(path)


def _fill_channels(files: dict[int, Path], case: str, channels: int) -> tuple[Path, ...]:
    """Return the files of a case by channel, with the expected names of missing ones."""
    sibling = next(iter(files.values()))
    ending = sibling.name.removeprefix(stem(sibling))
    return tuple(files.get(i, sibling.with_name(f"{case}_{i:04d}{ending}")) for i in range(channels))
