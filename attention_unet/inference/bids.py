"""Find the scans of a BIDS dataset, and write what a BIDS derivative needs beside masks (bids-specification 1.10)."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_unet.dataset.bids import OURS, group_scans, scan_id
from attention_unet.dataset.cases import BIDS, Case
from attention_unet.dataset.splits import read_held_out
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text
from attention_unet.files.json_file import read_object, write_json
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_folder import PARTS
from attention_unet.inference.model_file import versions
from attention_unet.inference.record import add_files
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import stem

IGNORED = ".bidsignore"
TITLE = "Segmentations of {} by attention_unet"
OTHER_FILES = ("run.json", "volumes.csv", "*_labels.json", "itk-snap_labels.txt", *PARTS)


def find_bids_scans(
    root: Path, suffixes: Sequence[str], participants: Sequence[str], may_miss: bool = False
) -> tuple[dict[Path, list[Case]], dict[str, str]]:
    """Return the scans of a BIDS dataset by their folder, relative to the dataset. Its derivatives are not searched.

    ``suffixes`` has that of each channel in order, such as T1w; files of a scan have all other entities in common.
    ``participants`` are labels to keep, with or without ``sub-``; empty: all. With ``may_miss`` a scan may lack
    channels. Raise ConfigError if a suffix is given twice, the folder is no BIDS dataset, a participant is not there,
    or there is no scan.

    Returns:
        The scans; and the reason by file name, for scans that lack a channel, are there twice or would share the name
        of a mask, and for participants that were named and have no scan.
    """
    if len(set(suffixes)) < len(suffixes):
        raise ConfigError(f"--bids-suffix is {' '.join(suffixes)}: expected each suffix once")
    if not (root / BIDS).is_file():
        raise ConfigError(f"{root}: is no BIDS dataset: expected {BIDS}; use --recursive for other folders")
    names = list(dict.fromkeys(f"sub-{name.removeprefix('sub-')}" for name in participants))
    if gone := [name for name in names if not (root / name).is_dir()]:
        raise ConfigError(f"{root}: has no {', '.join(gone)}: expected a folder of each participant")
    files = group_scans(root, [root / name for name in names] or sorted(root.glob("sub-*")), suffixes)
    cases: dict[Path, list[Case]] = defaultdict(list)
    without = set(names) - {folder.parts[0] for folder, _ in files}
    failed = {name: f"{root / name}: holds no scan {' or '.join(suffixes)}" for name in sorted(without)}
    for (folder, entities), of_scan in sorted(files.items()):
        found, mask = [of_scan[suffix] for suffix in suffixes], _name_of_mask(entities)
        name = (folder / entities).as_posix()
        absent = tuple(number for number, paths in enumerate(found) if not paths)
        if any(len(paths) > 1 for paths in found) or (absent and not may_miss):
            counts = ", ".join(f"{len(paths)} {suffix}" for suffix, paths in zip(suffixes, found, strict=True))
            failed[name] = f"{root / folder}: {entities} has {counts}: expected one file each"
        elif any(case.id == mask for case in cases[folder]):
            reason = f"{root / folder}: {entities}: its mask would have the name of another scan's mask, {mask}"
            failed[name] = f"{reason}; move one of them to another folder"
        else:
            cases[folder].append(Case(mask, tuple(path for paths in found for path in paths), absent=absent))
    cases = {folder: of_folder for folder, of_folder in cases.items() if of_folder}
    if not cases:
        reason = next(iter(failed.values()), f"holds no scan sub-*/**/sub-*_{first_few(suffixes)}.nii.gz")
        raise ConfigError(f"{root}: {reason}: check --bids-suffix")
    return cases, failed


def keep_held_out(
    cases: Mapping[Path, Sequence[Case]], failed: Mapping[str, str], run: Path, participants: Sequence[str]
) -> tuple[dict[Path, list[Case]], dict[str, str]]:
    """Return those of the results of ``find_bids_scans`` that a training on this dataset held out.

    Raise ConfigError if the run held out no scan, none of these participants, or one that is not there.
    """

    def scan_of(case: Case) -> str:
        return scan_id(stem(case.images[0]).rpartition("_")[0])

    scans = {scan_of(case) for of_folder in cases.values() for case in of_folder}
    there = scans | {scan_id(Path(name).name) for name in failed}
    held_out = read_held_out(run, None if participants else sorted(there))
    if there.isdisjoint(held_out):
        raise ConfigError(f"{run}: held out {first_few(held_out)}, none of these participants: name others")
    kept = {folder: [case for case in of_folder if scan_of(case) in held_out] for folder, of_folder in cases.items()}
    reasons = {name: reason for name, reason in failed.items() if scan_id(Path(name).name) in held_out}
    return {folder: of_folder for folder, of_folder in kept.items() if of_folder}, reasons


def _name_of_mask(entities: str) -> str:
    """Return the name of the mask of a scan: on its own grid, by this program, discrete segmentation."""
    kept = [part for part in entities.split("_") if not part.startswith("desc-")]
    own_grid = [] if any(part.startswith("space-") for part in kept) else ["space-orig"]
    return "_".join([*kept, *own_grid, OURS, "dseg"])


def describe_derivative(output: Path, source: Path, suffixes: Sequence[str]) -> None:
    """Write the description of a derivative, and the list of the files that are not part of BIDS, unless they exist.

    Raise ConfigError if another program described this folder, or it is of another dataset or other suffixes; DataError
    if it cannot be written to.
    """
    there, title, link = output / BIDS, TITLE.format(" and ".join(suffixes)), relative_path(output, source)
    description = {
        "Name": title,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "attention_unet", "Version": versions()["attention-unet"]}],
        "DatasetLinks": {"source": link},
    }
    if there.exists():
        found = read_object(there)
        links = found.get("DatasetLinks")
        origin = links.get("source", link) if isinstance(links, dict) else link
        for what, given, expected in (("", found.get("Name"), title), ("scans of ", origin, link)):
            if given != expected:
                text = f"describes {what}{given!r}, expected {expected!r}: name another folder with -o"
                raise ConfigError(f"{there}: {text}")
    else:
        write_json(there, description)
    if not (output / IGNORED).exists():
        write_text(output / IGNORED, "".join(f"{name}\n" for name in OTHER_FILES))


def describe_masks(output: Path, source: Path, cases: Sequence[Case], labels: Labels) -> None:
    """Write the classes and the sources of each mask in a folder, and record the files. Those that exist are kept."""
    rows = [
        [value, name, colour_of(i)] for i, (name, value) in enumerate(zip(labels.names, labels.painted, strict=True))
    ]
    table = csv_text([["index", "name", "color"], *rows], "\t")
    for case in cases:
        images = [f"bids:source:{image.relative_to(source).as_posix()}" for image in case.images]
        facts = {"SpatialReference": images[0], "Sources": images, "Manual": False}
        texts = {".json": json.dumps(facts, indent=2) + "\n", ".tsv": table}
        new = [output / f"{case.id}{ending}" for ending in texts if not (output / f"{case.id}{ending}").exists()]
        if new and (output / f"{case.id}.nii.gz").is_file():
            for path in new:
                write_text(path, texts[path.suffix])
            add_files(output, case.id, new)
