"""Find the cases of a dataset, whatever its layout: Decathlon, nnU-Net raw, or a plain pair of folders."""

import logging
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_unet.dataset.description import describe_channels, describe_labels, labels_in_files
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.json_file import read_object
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import (
    by_name,
    list_unread,
    list_volumes,
    read_volume,
    stem,
    volumes_by_case,
)

log = logging.getLogger(__name__)

CHANNEL_SUFFIX = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


@dataclass(frozen=True)
class Case:
    """One patient's scan: one file of all channels, or a file a channel in order, and the label if there is one."""

    id: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled cases, sorted by id, with the names of their image channels and classes."""

    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: Labels


def data_root(root: str | None) -> Path:
    """Folder of datasets: ``root``, else $ATTENTION_UNET_DATA, else ./data."""
    return Path(root or os.environ.get("ATTENTION_UNET_DATA") or "data")


def locate_dataset(root: str | None, dataset: str) -> Path:
    """Folder of a dataset: under ``root``, else under $ATTENTION_UNET_DATA, else under ./data.

    Raises:
        ConfigError: if there is no such folder, naming where it was looked for.
    """
    base = data_root(root)
    if root and dataset and not (base / dataset).is_dir() and _layout(base):
        return base  # the root is the dataset itself
    folder = base / dataset
    if not folder.is_dir() or not _layout(folder):
        raise ConfigError(
            f"{folder}: no dataset here: expected dataset.json, or folders of images and labels; "
            "name another place with --root (of train: --data.root) or $ATTENTION_UNET_DATA, or get it with "
            "'attention-unet fetch NAME'"
        )
    return folder


def find_cases(root: Path) -> Dataset:
    """Read the list of labelled cases of a dataset.

    Layouts: ``dataset.json`` with a list of training cases (Medical Segmentation Decathlon); ``dataset.json`` with
    ``channel_names`` beside imagesTr and labelsTr (nnU-Net raw, files ``CASE_0000.nii.gz``); two folders, images and
    labels (or imagesTr and labelsTr), whose files have the same names, images perhaps with channel suffixes.

    Raises:
        DataError: naming every file that is missing, has no partner or cannot be read.
    """
    dataset, problems = look_for_cases(root)
    if problems:
        raise DataError("\n".join(problems.values()))
    return dataset


def look_for_cases(root: Path) -> tuple[Dataset, dict[str, str]]:
    """Find cases as ``find_cases`` does, and leave out those at which something is wrong.

    Returns:
        The dataset without them, and for each of them what is wrong.

    Raises:
        DataError: if the dataset itself is at fault, or no case is left.
    """
    problems: dict[str, str] = {}
    layout = _layout(root)
    description = read_object(root / "dataset.json") if (root / "dataset.json").is_file() else {}
    if layout == "decathlon":
        cases = _listed_cases(root, description)
    elif folders := _image_and_label_folders(root):
        cases = _paired_cases(*folders, problems)
        announced = description.get("numTraining")
        if announced is not None and announced != len(cases) + len(problems):
            raise DataError(
                f"{root / 'dataset.json'}: numTraining is {announced!r}, but {len(cases) + len(problems)} cases are "
                "there: is it half copied? Copy the rest, or correct the number"
            )
    else:
        raise DataError(f"{root}: no dataset here: expected dataset.json, or folders of images and labels")
    cases = _with_files(root, cases, problems)
    if "labels" in description:
        labels = describe_labels(root / "dataset.json")
    else:
        labels = labels_in_files({case.id: case.label for case in cases if case.label}, problems)
    names = (describe_channels(root / "dataset.json") if description else ()) or _counted_channels(cases, problems)
    cases = sorted((case for case in cases if case.id not in problems), key=lambda case: case.id)
    if not cases:
        text = f"{root}: holds no labelled case: expected at least one image with its label"
        raise DataError("\n".join([*problems.values(), text]))
    return Dataset(root, tuple(cases), names, labels), problems


def group_channels(
    paths: Iterable[Path], channels: int | None = None, wanted: Collection[str] = ()
) -> dict[str, tuple[Path, ...]]:
    """Group image files by case. Suffixes _0000, _0001 ... count as channels only if every file has one and every case
    has the same, from 0; otherwise each file is a case by itself.

    Args:
        paths: image files.
        channels: the number of channels, if it is known. If there are several and every file has a suffix below it, a
            case that lacks a file is still a case: its missing file is listed, and reading it will fail.
        wanted: cases that are looked for. If none is found by suffixes but one by the whole name of a file, the digits
            end the names of cases and are no channels.

    Raises:
        DataError: if a case is there twice.
    """
    named = by_name(paths)
    by_case: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for name, path in named.items():
        match = CHANNEL_SUFFIX.match(name)
        if match:
            by_case[match["case"]].append((int(match["channel"]), path))
    digits_end_names = by_case.keys().isdisjoint(wanted) and any(name in wanted for name in named)
    suffixed = sum(len(group) for group in by_case.values()) == len(named) > 0 and not digits_end_names
    if suffixed and channels and channels > 1 and all(number < channels for g in by_case.values() for number, _ in g):
        return {case: _all_channels(dict(group), case, channels) for case, group in by_case.items()}
    counts = {tuple(sorted(channel for channel, _ in group)) for group in by_case.values()}
    if suffixed and len(counts) == 1:
        (found,) = counts
        if found == tuple(range(len(found))) and channels in (None, len(found)):
            return {case: tuple(path for _, path in sorted(group)) for case, group in by_case.items()}
    return {name: (path,) for name, path in named.items()}


def _all_channels(files: dict[int, Path], case: str, channels: int) -> tuple[Path, ...]:
    sibling = next(iter(files.values()))
    ending = sibling.name.removeprefix(stem(sibling))
    return tuple(files.get(i, sibling.with_name(f"{case}_{i:04d}{ending}")) for i in range(channels))


def _layout(root: Path) -> str | None:
    description = root / "dataset.json"
    if description.is_file() and "training" in read_object(description):
        return "decathlon"
    return "folders" if _image_and_label_folders(root) else None


def _image_and_label_folders(root: Path) -> tuple[Path, Path] | None:
    for images, labels in (("imagesTr", "labelsTr"), ("images", "labels")):
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
    return None


def _listed_cases(root: Path, description: dict[str, Any]) -> list[Case]:
    if not isinstance(description["training"], list):
        raise DataError(f"{root / 'dataset.json'}: training is {description['training']!r}: expected a list of cases")
    cases = []
    for entry in description["training"]:
        if not (
            isinstance(entry, dict) and isinstance(entry.get("image"), str) and isinstance(entry.get("label"), str)
        ):
            raise DataError(f"{root / 'dataset.json'}: training holds {entry!r}: expected an object of image and label")
        image, label = (root / entry["image"], root / entry["label"])
        for path in (image, label):
            if "\0" in str(path) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
                raise DataError(f"{root / 'dataset.json'}: {path} lies outside the dataset: expected paths inside it")
        cases.append(Case(stem(label), (image,), label))
    return cases


def _paired_cases(images: Path, labels: Path, problems: dict[str, str]) -> list[Case]:
    for folder in (images, labels):
        if unread := list_unread(folder):
            log.warning("%s: not read: %s", folder, first_few(unread))
    label_files, files = volumes_by_case(labels), list_volumes(images)
    suffixes = [match for path in files if (match := CHANNEL_SUFFIX.match(stem(path))) and match["case"] in label_files]
    channels = 1 + max(int(match["channel"]) for match in suffixes) if suffixes else None
    grouped = group_channels(files, channels, wanted=label_files)
    for case in sorted(set(grouped) - set(label_files)):
        problems[case] = f"{grouped[case][0]}: has no label: expected {labels / case}.nii.gz or .nii"
    for case in sorted(set(label_files) - set(grouped)):
        problems[case] = f"{label_files[case]}: has no image: expected {images / case}.nii.gz or .nii"
    return [Case(case, files, label_files[case]) for case, files in grouped.items() if case in label_files]


def _with_files(root: Path, cases: list[Case], problems: dict[str, str]) -> list[Case]:
    """Those of the cases whose files are all there."""
    ids = [case.id for case in cases]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise DataError(f"{root}: cases are listed twice: {', '.join(twice[:5])}: list each once")
    for case in cases:
        missing = [str(path) for path in (*case.images, case.label) if path and not os.path.isfile(path)]
        if missing:
            problems[case.id] = f"{', '.join(missing)}: missing: put it there or take the case off the list"
    return [case for case in cases if case.id not in problems]


def _counted_channels(cases: Sequence[Case], problems: Mapping[str, str]) -> tuple[str, ...]:
    """Names for the channels of the first case that can be read."""
    for case in cases:
        if case.id not in problems:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # told when every image is read
                    return tuple(
                        f"channel {i}" for i in range(sum(len(read_volume(path).array) for path in case.images))
                    )
            except DataError:
                continue  # told when every image is read
    return ("channel 0",)
