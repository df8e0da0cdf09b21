"""Find scans and label maps of a BIDS dataset by the parts of their names (bids-specification 1.10)."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.description import find_labels_in_files
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.csv_text import parse_table
from attention_unet.files.prediction_folder import PARTS
from attention_unet.scans.labels import RESERVED, Labels
from attention_unet.scans.volume_files import is_volume, list_volumes, stem

log = logging.getLogger(__name__)

MASKS = ("dseg", "mask")  # suffixes of label maps
LABEL_MAP = "label map"  # a kind of file beside the suffixes
MOST_TOLD = 5  # problems

NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)")
OURS = "desc-attentionunet"  # in the names of predicted masks
# Entities in which the names of a scan and of its label map may differ.
DIFFERENT = ("space-", "res-", "den-", "hemi-", "label-", "seg-", "atlas-", "desc-")
ADVICE = "expected the columns index and name, separated by tabs"

Scans = dict[tuple[Path, str], dict[str, list[Path]]]


def group_scans(root: Path, folders: Iterable[Path], suffixes: Sequence[str]) -> Scans:
    """Return the files of scans by suffix. Files of a scan have their folder and all entities in common.

    Args:
        root: folder of the dataset.
        folders: folders of participants.
        suffixes: suffixes of the channels, such as T1w.

    Returns:
        By folder, relative to the dataset, and entities, such as ``sub-01_ses-1``.
    """
    files: Scans = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        for path, entities, suffix in _named_volumes(folder):
            if suffix in suffixes:
                files[path.parent.relative_to(root), entities][suffix].append(path)
    return files


def find_bids_cases(root: Path, suffixes: Sequence[str], pattern: str) -> tuple[Dataset, dict[str, str]]:
    """Return the labelled scans of a BIDS dataset.

    Args:
        root: folder of the dataset.
        suffixes: suffix of each channel in order, such as T1w.
        pattern: pattern of the paths of label maps in this folder; ``*`` stands for any text, also with ``/``. The name
            of a label map has the entities of its scan, apart from those that say how it was made, such as ``desc``.

    Returns:
        The dataset without incomplete cases, and the problem of each of them by id.

    Raises:
        ConfigError: if a suffix is given twice.
        DataError: if no scan has a label map, or tables of classes differ.
    """
    if len(set(suffixes)) < len(suffixes):
        raise ConfigError(f"data.bids_suffixes is {list(suffixes)}: expected each suffix once")
    files: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path, entities, suffix in _named_volumes(root):
        relative, case = path.relative_to(root), scan_id(entities)
        if fnmatchcase(relative.as_posix(), pattern):
            if OURS not in path.name:
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
    return Dataset(root, readable, tuple(suffixes), _name_classes(root, labels, readable)), problems


def is_bids_tree(folder: Path) -> bool:
    """Return whether volumes are in folders of participants, and not in the folder itself."""
    return not list_volumes(folder) and any(path.is_dir() for path in folder.glob("sub-*"))


def masks_by_scan(root: Path) -> dict[str, Path]:
    """Return the label maps of a BIDS dataset by the entities that they share with their scans.

    They have the suffix dseg or, if there are none, mask.

    Raises:
        DataError: if a scan has several.
    """
    volumes = list(_volumes_in_participants(root))
    kind = next((kind for kind in MASKS if any(suffix == kind for _, suffix, _ in volumes)), None)
    masks: dict[str, Path] = {}
    for case, suffix, path in volumes:
        if suffix == kind and masks.setdefault(case, path) != path:
            raise DataError(
                f"{path}: {case} has two label maps, also {masks[case]}: expected one; name a folder with one of them"
            )
    return masks


def images_by_scan(root: Path) -> dict[str, Path]:
    """Return an image of each scan of a BIDS dataset, the first by name, by the entities of ``masks_by_scan``."""
    volumes = reversed(list(_volumes_in_participants(root)))
    return {case: path for case, suffix, path in volumes if suffix not in MASKS}


def name_classes_of(root: Path, masks: Mapping[str, Path]) -> Labels:
    """Return the classes of label maps of a BIDS dataset: their integers, and names from tables beside or above them.

    Raises:
        DataError: if tables differ. Label maps that cannot be read are left out.
    """
    cases = [Case(case, (), path) for case, path in masks.items()]
    return _name_classes(root, find_labels_in_files(masks, {}), cases)


def _volumes_in_participants(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield shared entities, suffix and path of the volumes of all participants, without the maps of predict."""
    for participant in sorted(root.glob("sub-*")):
        for path, entities, suffix in _named_volumes(participant):
            if path.parent.name not in PARTS:
                yield scan_id(entities), suffix, path


def _named_volumes(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield volumes with names of BIDS below a folder, in order: path, entities, suffix.

    Links to folders are followed, each folder once. Hidden folders and source data are left out.
    """
    seen = set()
    for place, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "sourcedata")
        for path in (Path(place) / name for name in sorted(files)):
            if is_volume(path) and (named := NAME.fullmatch(stem(path))):
                yield path, named["entities"], named["suffix"]


def scan_id(entities: str) -> str:
    """Return the entities of a scan without those in which the name of its label map may differ."""
    return "_".join(part for part in entities.split("_") if not part.startswith(DIFFERENT))


def _name_classes(root: Path, labels: Labels, cases: Sequence[Case]) -> Labels:
    """Give classes the names of the tables beside the label maps, or of those above that hold for all of them."""
    names: dict[int, str] = {}
    for table in sorted({table for case in cases if case.label for table in _table_of(case.label, root)}):
        for value, name in parse_table(table, _parse_class, "classes", ADVICE, "\t"):
            if name and names.setdefault(value, name) != name:
                raise DataError(f"{table}: {value} is {name}, elsewhere {names[value]}: expected one name of a class")
    if names and (unnamed := [str(value) for value in labels.painted if value not in names]):
        log.warning("%s: no table names %s: called label %s, and so on", root, first_few(unnamed), unnamed[0])
    integers = {names.get(value, f"label {value}"): (value,) for value in labels.painted}
    if wrong := (set(integers) & {*RESERVED, "ignore"}):
        raise DataError(f"{root}: a class is called {first_few(wrong)}: this name is reserved; correct the table")
    if len(integers) < len(labels.painted):
        same = [name for name, count in Counter(names.get(v) for v in labels.painted).items() if name and count > 1]
        raise DataError(f"{root}: several integers of the label maps are called {first_few(same)}: correct the table")
    return Labels(integers, labels.painted)


def _parse_class(row: dict[str, str]) -> tuple[int, str]:
    """Return integer and name of a class; no name where one of them is not known."""
    index, name = row["index"].strip(), row["name"].strip()
    if "n/a" in (index, name):
        return 0, ""
    if not float(index).is_integer():
        raise ValueError(f"index is {index}")
    return int(float(index)), name


def _table_of(label: Path, root: Path) -> list[Path]:
    """Return the table of a label map: the one beside it, or one above whose entities its name has, the nearest."""
    parts = set(stem(label).split("_"))
    for folder in (root / above for above in label.relative_to(root).parents):
        tables = [path for path in folder.glob("*.tsv") if set(path.stem.split("_")) <= parts]
        if tables:
            return [max(tables, key=lambda path: (len(path.stem.split("_")), path.name))]
    return []
