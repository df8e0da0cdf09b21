"""Find scans and label maps of a BIDS dataset by the parts of their names (bids-specification 1.10)."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.description import describe_labels, find_labels_in_files, read_description
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.csv_text import parse_table
from attention_unet.files.prediction_folder import PARTS
from attention_unet.scans.labels import RESERVED, Labels
from attention_unet.scans.volume_files import is_volume, list_volumes, stem

log = logging.getLogger(__name__)

MASKS = ("dseg", "mask")  # suffixes of label maps
LABEL_MAP = "label map"  # a kind of file beside the suffixes
MOST_TOLD = 5  # problems
NOT_READ = "not read, because the name is not one of BIDS, or its participant or session is not that of the folder"

ENTITIES = r"(?P<entities>sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*)"
NAME = re.compile(rf"{ENTITIES}_(?P<suffix>[A-Za-z0-9]+)")
NAME_OR_ENTITIES = re.compile(rf"{ENTITIES}(_(?P<suffix>[A-Za-z0-9]+))?")
OURS = "desc-attentionunet"  # in the names of predicted masks
# Entities in which the names of a scan and of its label map may differ.
DIFFERENT = ("space-", "res-", "den-", "hemi-", "label-", "seg-", "atlas-", "desc-")
ADVICE = "expected the columns index and name, separated by tabs"


class NamedVolume(NamedTuple):
    """Volume with a name of BIDS."""

    path: Path  # the file
    entities: str  # entities of its name, such as ``sub-01_ses-1``
    suffix: str  # the last part of its name, such as ``T1w``; empty if its name has entities alone


Scans = dict[tuple[Path, str], dict[str, list[Path]]]


def group_scans(root: Path, folders: Iterable[Path], suffixes: Sequence[str]) -> Scans:
    """Return files by folder, relative to the dataset, and entities, such as ``sub-01_ses-1``; then by suffix."""
    files: Scans = defaultdict(lambda: defaultdict(list))
    for path, entities, suffix in _named_volumes(root, folders, lambda path: _suffix(path) in suffixes):
        if suffix in suffixes:
            files[path.parent.relative_to(root), entities][suffix].append(path)
    return files


def find_bids_cases(root: Path, suffixes: Sequence[str], pattern: str) -> tuple[Dataset, dict[str, str]]:
    """Return the complete labelled scans of a BIDS dataset, and the problem of each incomplete one by id.

    Args:
        root: folder of the dataset.
        suffixes: suffix of each channel in order, such as T1w.
        pattern: pattern of the paths of label maps in this folder; ``*`` stands for any text, also with ``/``. The name
            of a label map has the entities of its scan, apart from those that say how it was made, such as ``desc``.

    Raise ConfigError if a suffix is given twice, DataError if no scan has a label map, tables of classes differ, or
    ``dataset.json`` describes incomplete annotations.
    """
    if len(set(suffixes)) < len(suffixes):
        raise ConfigError(f"data.bids_suffixes is {list(suffixes)}: expected each suffix once")
    description = read_description(root / "dataset.json")
    ignores = "labels" in description and describe_labels(root / "dataset.json").ignore is not None
    if "annotated" in description or ignores:
        raise DataError(
            f"{root / 'dataset.json'}: 'annotated' and 'ignore' are not read from BIDS datasets: remove the file if "
            "all is annotated, or arrange the cases in folders imagesTr and labelsTr"
        )
    files: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))

    def is_label_map(path: Path) -> bool:
        return fnmatchcase(path.relative_to(root).as_posix(), pattern)

    wanted = _named_volumes(root, [root], lambda path: _suffix(path) in suffixes or is_label_map(path))
    for path, entities, suffix in wanted:
        relative, case = path.relative_to(root), scan_id(entities)
        if is_label_map(path):
            if OURS not in entities.split("_"):
                files[case][LABEL_MAP].append(path)
        elif suffix in suffixes and relative.parts[0].startswith("sub-"):
            files[case][suffix].append(path)
    problems: dict[str, str] = {}
    cases, without = [], []
    for case, of_case in sorted(files.items()):
        found = [of_case[kind] for kind in (*suffixes, LABEL_MAP)]
        if not found[-1]:
            without.append(case)
        elif all(len(paths) == 1 for paths in found):
            cases.append(Case(case, tuple(paths[0] for paths in found[:-1]), found[-1][0]))
        else:
            counts = [f"{kind} {len(paths)}" for paths, kind in zip(found, (*suffixes, LABEL_MAP), strict=True)]
            several = [str(path.relative_to(root)) for paths in found for path in paths if len(paths) > 1]
            problems[case] = f"{root}: {case}: files found: {', '.join(counts)}: expected one each" + (
                f", not {first_few(several)}: narrow data.bids_labels, or remove the others" if several else ""
            )
    if not cases:
        text = f"{root}: no scan {first_few(suffixes)} has a label map {pattern}: see data.bids_labels"
        raise DataError("\n".join([*problems.values()][:MOST_TOLD]) or text)
    if without:
        log.warning("%s: left out, as there is no label map: %s", root, first_few(without))
    labels = find_labels_in_files({case.id: case.label for case in cases if case.label}, problems)
    readable = tuple(case for case in cases if case.id not in problems)
    labels = name_classes(root, labels, [case.label for case in readable if case.label])
    return Dataset(root, readable, tuple(suffixes), labels), problems


def is_bids_tree(folder: Path) -> bool:
    """Return whether a folder has folders of participants."""
    return any(path.is_dir() for path in folder.glob("sub-*"))


def named_volumes(folder: Path) -> tuple[list[NamedVolume], list[Path]]:
    """Return the volumes of participants, or of a flat folder, with names of BIDS, and those with other names.

    Maps that predict wrote beside its masks are in neither.
    """
    inside = sorted(folder.glob("sub-*")) if is_bids_tree(folder) else []
    paths = [path for participant in inside for path in _volumes_below(participant)] or list_volumes(folder)
    named, others = [], list_volumes(folder) if inside else []
    for path in (path for path in paths if path.parent.name not in PARTS):
        match = NAME_OR_ENTITIES.fullmatch(stem(path))
        if match and is_in_its_folder(path.relative_to(folder), match["entities"]):
            named.append(NamedVolume(path, match["entities"], match["suffix"] or ""))
        elif path not in others:
            others.append(path)
    return named, others


def names_in_tables(root: Path, label_maps: Iterable[Path]) -> dict[int, str]:
    """Return the names of integers in the tables beside label maps, or of those above that hold for all of them.

    Raise DataError if tables are damaged or differ.
    """
    names: dict[int, str] = {}
    for table in sorted({table for label in label_maps for table in _table_of(label, root)}):
        for value, name in parse_table(table, _parse_class, "classes", ADVICE, "\t"):
            if name and value and names.setdefault(value, name) != name:  # 0 is no class
                raise DataError(f"{table}: {value} is {name}, elsewhere {names[value]}: expected one name of a class")
    return names


def _named_volumes(root: Path, folders: Iterable[Path], is_wanted: Callable[[Path], bool]) -> Iterator[NamedVolume]:
    """Yield volumes with names of BIDS below folders of a dataset, in order. Report others that are wanted."""
    others = []
    for path in (path for folder in folders for path in _volumes_below(folder)):
        if (named := NAME.fullmatch(stem(path))) and is_in_its_folder(path.relative_to(root), named["entities"]):
            yield NamedVolume(path, named["entities"], named["suffix"])
        elif is_wanted(path):
            others.append(str(path.relative_to(root)))
    if others:
        log.warning("%s: %s: %s", root, NOT_READ, first_few(others))


def _suffix(path: Path) -> str:
    return stem(path).rpartition("_")[2]


def is_in_its_folder(path: Path, entities: str) -> bool:
    """Return whether a name has the participant and the session of its folders. Other folders fit every name.

    ``path`` is relative to the dataset.
    """
    own: set[str] = set()
    for folder in path.parents:  # from the inside, up to that of the participant
        own.update(part for part in folder.name.split("_") if part.startswith(("sub-", "ses-")))
        if any(part.startswith("sub-") for part in own):
            break
    return own <= set(entities.split("_"))


def _volumes_below(folder: Path) -> Iterator[Path]:
    """Yield volumes below a folder, in order.

    Links to folders are followed, each folder once. Hidden folders and source data are left out. Folders that may not
    be read are reported.
    """

    def report(error: OSError) -> None:
        if not isinstance(error, NotADirectoryError):  # a file called sub-*
            log.warning("%s: cannot be read (%s): skipped", error.filename, error.strerror)

    seen = set()
    for place, names, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "sourcedata")
        yield from filter(is_volume, (Path(place) / name for name in sorted(files)))


def scan_id(entities: str) -> str:
    """Return the entities of a scan without those in which the name of its label map may differ."""
    return "_".join(part for part in entities.split("_") if not part.startswith(DIFFERENT))


def name_classes(root: Path, labels: Labels, label_maps: Iterable[Path]) -> Labels:
    """Give classes the names of ``names_in_tables``."""
    known = names_in_tables(root, label_maps)
    if known and (unnamed := [str(value) for value in labels.painted if value not in known]):
        log.warning("%s: no table names %s: called label %s, and so on", root, first_few(unnamed), unnamed[0])
    names = [known.get(value, f"label {value}") for value in labels.painted]
    if wrong := (set(names) & {*RESERVED, "ignore"}):
        raise DataError(f"{root}: a class is called {first_few(wrong)}: this name is reserved; correct the table")
    if same := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{root}: several integers of the label maps are called {first_few(same)}: correct the table")
    return Labels({name: (value,) for name, value in zip(names, labels.painted, strict=True)}, labels.painted)


def _parse_class(row: dict[str, str]) -> tuple[int, str]:
    """Return integer and name of a class; no name where one of them is not known."""
    index, name = row["index"].strip(), row["name"].strip()
    if not index or "n/a" in (index, name):
        return 0, ""
    if not float(index).is_integer():
        raise ValueError(f"index is {index}")
    return int(float(index)), name


def _table_of(label: Path, root: Path) -> list[Path]:
    """Return the table of a label map: the one beside it, or one above whose entities its name has, the nearest."""
    parts = set(stem(label).split("_"))
    for folder in (root / above for above in label.relative_to(root).parents):
        of_kind = folder.glob(f"*{stem(label).rpartition('_')[2]}.tsv")  # not that of the participants
        tables = [path for path in of_kind if set(path.stem.split("_")) <= parts]
        if tables:
            return [max(tables, key=lambda path: (len(path.stem.split("_")), path.name))]
    return []
