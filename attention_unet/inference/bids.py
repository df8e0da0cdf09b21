"""Find the scans of a BIDS dataset, and write what a BIDS derivative needs beside masks (bids-specification 1.10)."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text
from attention_unet.files.json_file import read_object
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_folder import PARTS
from attention_unet.inference.model_file import versions
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import ENDINGS, is_volume, stem

DESCRIPTION, TITLE = "dataset_description.json", "Segmentations by attention_unet"
NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)")
MASK = "space-orig_desc-attentionunet_dseg"  # on the scan's own grid, by this program, discrete segmentation
OTHER_FILES = ("run.json", "volumes.csv", "*_labels.json", "itk-snap_labels.txt", *PARTS)


def find_bids_scans(root: Path, suffixes: Sequence[str], participants: Sequence[str]) -> dict[Path, list[Case]]:
    """Return the scans of a BIDS dataset by their folder, relative to the dataset.

    Args:
        root: folder of the dataset. Its derivatives are not searched.
        suffixes: suffix of each channel in order, such as T1w. Files of a scan have all other entities in common.
        participants: labels to keep, with or without ``sub-``; empty: all.

    Raises:
        ConfigError: if the folder is no BIDS dataset, a participant is not there, or there is no scan.
    """
    if not (root / DESCRIPTION).is_file():
        raise ConfigError(f"{root}: is no BIDS dataset: expected {DESCRIPTION}; use --recursive for other folders")
    names = [f"sub-{name.removeprefix('sub-')}" for name in participants]
    if gone := [name for name in names if not (root / name).is_dir()]:
        raise ConfigError(f"{root}: has no {', '.join(gone)}: expected a folder of each participant")
    files: dict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    for folder in [root / name for name in names] or sorted(root.glob("sub-*")):
        for path in sorted(folder.rglob("*")):
            named = NAME.fullmatch(stem(path)) if is_volume(path) and path.name.endswith(ENDINGS) else None
            if named and named["suffix"] in suffixes:
                files[path.parent.relative_to(root), named["entities"]][named["suffix"]] = path
    cases: dict[Path, list[Case]] = defaultdict(list)
    for (folder, entities), of_scan in sorted(files.items()):
        if missing := [suffix for suffix in suffixes if suffix not in of_scan]:
            raise ConfigError(
                f"{root / folder}: {entities} has no {', '.join(missing)}: expected {', '.join(suffixes)}"
            )
        cases[folder].append(Case(f"{entities}_{MASK}", tuple(of_scan[suffix] for suffix in suffixes)))
    if not cases:
        raise ConfigError(f"{root}: holds no scan sub-*/**/sub-*_{first_few(suffixes)}.nii.gz: check --bids-suffix")
    return dict(cases)


def describe_derivative(output: Path, source: Path) -> None:
    """Write the description of a derivative, and the list of the files that are not part of BIDS.

    Raises:
        ConfigError: if another program described this folder.
        DataError: if the folder cannot be written to.
    """
    there = output / DESCRIPTION
    if there.exists() and read_object(there).get("Name") != TITLE:
        raise ConfigError(f"{there}: describes another dataset: name another folder with -o")
    description = {
        "Name": TITLE,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "attention_unet", "Version": versions()["attention-unet"]}],
        "DatasetLinks": {"source": relative_path(output, source)},
    }
    write_text(there, json.dumps(description, indent=2) + "\n")
    write_text(output / ".bidsignore", "".join(f"{name}\n" for name in OTHER_FILES))


def describe_masks(output: Path, source: Path, cases: Sequence[Case], labels: Labels) -> None:
    """Write the classes and the sources of each mask in a folder."""
    rows = [
        [value, name, colour_of(i)] for i, (name, value) in enumerate(zip(labels.names, labels.painted, strict=True))
    ]
    table = csv_text([["index", "name", "color"], *rows], "\t")
    for case in cases:
        if (output / f"{case.id}.nii.gz").is_file():
            images = [f"bids:source:{image.relative_to(source).as_posix()}" for image in case.images]
            facts: Mapping[str, object] = {"SpatialReference": images[0], "Sources": images, "Manual": False}
            write_text(output / f"{case.id}.json", json.dumps(facts, indent=2) + "\n")
            write_text(output / f"{case.id}.tsv", table)
