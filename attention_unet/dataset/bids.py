"""Find scans and label maps of a BIDS dataset by the parts of their names (bids-specification 1.10)."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from attention_unet.dataset.cases import Case, Dataset
from attention_unet.dataset.description import find_labels_in_files
from attention_unet.errors import DataError, first_few, plural
from attention_unet.files.csv_text import parse_table
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import is_volume, stem

log = logging.getLogger(__name__)

NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)")
OURS = "desc-attentionunet"  # in the names of predicted masks
OF_A_LABEL_MAP = ("space-", "res-", "den-", "hemi-", "label-", "seg-", "desc-")  # which the name of its scan lacks

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
        for path in sorted(folder.rglob("*")):
            named = NAME.fullmatch(stem(path)) if is_volume(path) else None
            if named and named["suffix"] in suffixes:
                files[path.parent.relative_to(root), named["entities"]][named["suffix"]].append(path)
    return files


def find_bids_cases(root: Path, suffixes: Sequence[str], pattern: str) -> tuple[Dataset, dict[str, str]]:
    """Return the labelled scans of a BIDS dataset.

    Args:
        root: folder of the dataset.
        suffixes: suffix of each channel in order, such as T1w.
        pattern: pattern of the label maps in this folder, such as ``derivatives/manual/**/*_dseg.nii.gz``. The name of
            a label map has all entities of its scan.

    Returns:
        The dataset without incomplete cases, and the problem of each of them by id.

    Raises:
        DataError: if no scan has a label map, or tables of classes differ.
    """
    scans = group_scans(root, sorted(root.glob("sub-*")), suffixes)
    label_maps: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.glob(pattern)):
        named = NAME.fullmatch(stem(path)) if is_volume(path) else None
        if named and OURS not in path.name:
            kept = [part for part in named["entities"].split("_") if not part.startswith(OF_A_LABEL_MAP)]
            label_maps["_".join(kept)].append(path)
    problems: dict[str, str] = {}
    cases = []
    for (folder, entities), of_scan in sorted(scans.items()):
        found = [*(of_scan[suffix] for suffix in suffixes), label_maps.pop(entities, [])]
        if not found[-1]:
            continue
        if all(len(paths) == 1 for paths in found):
            cases.append(Case(entities, tuple(paths[0] for paths in found[:-1]), found[-1][0]))
        else:
            counts = [f"{len(paths)} {kind}" for paths, kind in zip(found, [*suffixes, "label map"], strict=True)]
            problems[entities] = (
                f"{root / folder}: {entities} has {', '.join(counts)}: expected one each; see data.bids_suffixes and "
                f"data.bids_labels ({', '.join(str(path.relative_to(root)) for path in found[-1])})"
            )
    for entities, paths in label_maps.items():
        problems[entities] = f"{paths[0]}: has no scan {entities}_{suffixes[0]}: add it, or narrow data.bids_labels"
    if not cases:
        text = f"{root}: no scan {first_few(suffixes)} has a label map {pattern}: see data.bids_labels"
        raise DataError("\n".join([*problems.values(), text]))
    if without := len(scans) - len(cases):
        log.info("%s: %s without a label map or with a problem: left out", root, plural(without, "scan"))
    labels = find_labels_in_files({case.id: case.label for case in cases if case.label}, problems)
    readable = tuple(case for case in cases if case.id not in problems)
    return Dataset(root, readable, tuple(suffixes), _name_classes(root, labels, readable)), problems


def _name_classes(root: Path, labels: Labels, cases: Sequence[Case]) -> Labels:
    """Give classes the names of the tables beside the label maps, or of those above that hold for all of them."""
    names: dict[int, str] = {}
    for table in sorted({table for case in cases if case.label for table in _tables_of(case.label, root)}):
        rows = parse_table(table, lambda row: (int(row["index"]), row["name"]), "classes", "see BIDS", "\t")
        for value, name in rows:
            if names.setdefault(value, name) != name:
                raise DataError(f"{table}: {value} is {name}, elsewhere {names[value]}: expected one name of a class")
    integers = {names.get(value, f"label {value}"): (value,) for value in labels.painted}
    if len(integers) < len(labels.painted):
        raise DataError(f"{root}: two integers of the label maps have one name: expected a name of each class")
    return Labels(integers, labels.painted)


def _tables_of(label: Path, root: Path) -> list[Path]:
    own = label.with_name(f"{stem(label)}.tsv")
    if own.is_file():
        return [own]
    for folder in label.relative_to(root).parents:
        tables = [path for path in (root / folder).glob("*dseg.tsv") if not path.name.startswith("sub-")]
        if tables:
            return tables
    return []
