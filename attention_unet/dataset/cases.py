"""Find the cases of a dataset in Decathlon, nnU-Net raw or plain layout."""

import logging
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attention_unet.dataset.channel_files import case_of_channel, group_channels, surplus_channels
from attention_unet.dataset.description import (
    describe_channels,
    describe_labels,
    describe_unannotated,
    find_labels_in_files,
    read_description,
)
from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.files.broken_link import describe_broken_link
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import (
    ENDINGS,
    list_unread,
    list_volumes,
    shared_folders,
    stem,
    volumes_by_case,
)
from attention_unet.scans.volumes import read_volume

log = logging.getLogger(__name__)

BIDS = "dataset_description.json"


@dataclass(frozen=True)
class Case:
    """One scan."""

    id: str  # case id
    images: tuple[Path, ...]  # a file with all channels, or one file per channel in order
    label: Path | None = None  # label map; None if there is none
    unannotated: tuple[str, ...] = ()  # classes that the label map does not annotate: its background may hold them
    absent: tuple[int, ...] = ()  # numbers of the channels without a file, from 0; their voxels are 0
    # Whether there is no image: one is synthesized from the label map, which is also in ``images``.
    synthetic: bool = False


@dataclass(frozen=True)
class Dataset:
    """Labelled cases of a dataset, sorted by id, with the names of channels and classes."""

    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: Labels


def data_root(root: str | None) -> Path:
    """Return the folder of datasets: ``root`` if given, otherwise $ATTENTION_UNET_DATA or ./data."""
    return Path(root or os.environ.get("ATTENTION_UNET_DATA") or "data")


def locate_dataset(root: str | None, dataset: str) -> Path:
    """Return the folder of a dataset: in ``data_root(root)``, or ``root`` itself.

    Raise ConfigError if there is no such folder. It names the folder that was expected.
    """
    base = data_root(root)
    folder = base / dataset
    if root and dataset and not folder.is_dir() and _is_dataset(base):
        return base
    if not folder.is_dir() or not _is_dataset(folder):
        described = (folder / "dataset.json").is_file()
        reason = "there is dataset.json, but no" if described else "expected"
        here = _list_datasets(base) if base.is_dir() else []
        advice = f"{base} has {first_few(here)}: choose one by --data.dataset" if here else "check the path"
        raise ConfigError(
            f"{folder}: no dataset here: {reason} folders of images and labels (imagesTr and labelsTr), or {BIDS}; "
            f"{advice}, name the folder of the dataset by --data.root (explain, report: --root), or its parent folder "
            "by $ATTENTION_UNET_DATA, or download it with 'attention-unet fetch NAME'"
        )
    return folder


def find_readable_cases(root: Path) -> tuple[Dataset, dict[str, str]]:
    """Return the labelled cases of a dataset, and the problem of each incomplete case by id. Images are not read.

    Three layouts are known:

    - Medical Segmentation Decathlon: ``dataset.json`` with a list of training cases. That of nnU-Net 1 has names
      without the channel suffixes of the files: if no listed image exists, the files in the folders are taken.
    - nnU-Net raw: ``dataset.json`` with ``channel_names``, folders imagesTr and labelsTr, files ``CASE_0000.nii.gz``.
    - Plain: folders images and labels (or imagesTr and labelsTr), files of the same names. Images may have channel
      suffixes. Without a folder of images, images are synthesized from the label maps.

    Raise DataError if the dataset itself is faulty, or no case is left.
    """
    problems: dict[str, str] = {}
    description = read_description(root / "dataset.json")
    labels_alone = _folder_of_labels_alone(root)
    channels = describe_channels(root / "dataset.json") if description else ()
    if "training" in description:
        cases = _list_described_cases(root, description["training"])
        if not any(os.path.lexists(path) for case in cases for path in case.images):
            if labels_alone:
                cases = [replace(case, images=(case.label,), synthetic=True) for case in cases if case.label]
            elif folders := _image_and_label_folders(root):
                paired = {case.id: case for case in _pair_files(*folders, problems, channels)}
                cases = [paired.get(case.id, case) for case in cases]
                for other in problems.keys() - {case.id for case in cases}:
                    del problems[other]
    elif labels_alone:
        cases = [Case(case, (file,), file, synthetic=True) for case, file in volumes_by_case(labels_alone).items()]
    elif folders := _image_and_label_folders(root):
        cases = _pair_files(*folders, problems, channels)
        if not cases and not problems:
            raise DataError(
                f"{folders[0]}: holds no volume ({', '.join(ENDINGS)}): 2-D images such as PNG are not read, nor are "
                "folders in it"
            )
        announced, present = description.get("numTraining"), len(cases) + len(problems)
        if announced is not None and announced != present and not problems:
            raise DataError(
                f"{root / 'dataset.json'}: numTraining is {announced!r}, but {present} cases are there: is it half "
                "copied? Copy the rest, or correct the number"
            )
    else:  # what else ``locate_dataset`` accepts
        raise DataError(f"{root}: is a BIDS dataset: name the suffixes of its scans: --data.bids_suffixes '[T1w]'")
    listed = "training" in description
    cases = _drop_incomplete(root, cases, problems, "the case from the list" if listed else "its other files")
    if "labels" in description:
        labels = describe_labels(root / "dataset.json")
    else:
        labels = find_labels_in_files({case.id: case.label for case in cases if case.label}, problems)
        if description:
            log.warning("%s: has no labels: the classes are called %s", root / "dataset.json", first_few(labels.names))
    unannotated = describe_unannotated(root / "dataset.json", labels.names)
    known = {*(case.id for case in cases), *problems}
    tests = volumes_by_case(root / "labelsTs") if (root / "labelsTs").is_dir() else {}
    if absent := set(unannotated) - known - set(tests):
        raise DataError(f"{root / 'dataset.json'}: annotated names {first_few(absent)}: no such case; correct it")
    cases = [replace(case, unannotated=unannotated.get(case.id, ())) for case in cases]
    channels = channels or _name_channels(cases, problems)
    if len(channels) > 1 and any(case.synthetic for case in cases):
        raise DataError(
            f"{root / 'dataset.json'}: names {len(channels)} channels, but there are no images, and those that are "
            "synthesized from label maps have one: add the images, or name one channel"
        )
    cases = sorted((case for case in cases if case.id not in problems), key=lambda case: case.id)
    if not cases:
        text = f"{root}: holds no labelled case: expected at least one image with its label"
        raise DataError("\n".join([*problems.values(), text]))
    return Dataset(root, tuple(cases), channels, labels), problems


def _list_datasets(base: Path) -> list[str]:
    """Return the names of the datasets in a folder, without damaged ones and those that may not be read."""
    names = []
    for folder in base.iterdir():
        with suppress(DataError, OSError):
            if folder.is_dir() and _is_dataset(folder):
                names.append(folder.name)
    return names


def _is_dataset(root: Path) -> bool:
    folders = _image_and_label_folders(root) or _folder_of_labels_alone(root)
    return "training" in read_description(root / "dataset.json") or folders is not None or (root / BIDS).is_file()


def _image_and_label_folders(root: Path) -> tuple[Path, Path] | None:
    pairs = ((root / f"images{part}", root / f"labels{part}") for part in ("Tr", ""))
    return next(((images, labels) for images, labels in pairs if images.is_dir() and labels.is_dir()), None)


def _folder_of_labels_alone(root: Path) -> Path | None:
    """Return the folder of label maps of a dataset without images; None for other datasets."""
    if any((root / name).exists() for name in ("imagesTr", "images")):
        return None
    return next((root / name for name in ("labelsTr", "labels") if (root / name).is_dir()), None)


def _list_described_cases(root: Path, entries: Any) -> list[Case]:
    file = root / "dataset.json"
    if not isinstance(entries, list):
        raise DataError(f"{file}: training is {entries!r}: expected a list of cases")
    cases = []
    for entry in entries:
        if not (isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("image", "label"))):
            raise DataError(f"{file}: training holds {entry!r}: expected an object of image and label")
        image, label = (root / entry["image"], root / entry["label"])
        for path in (image, label):
            if "\0" in str(path) or not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
                raise DataError(f"{file}: {path} is outside the dataset: expected paths inside it")
        cases.append(Case(stem(label), (image,), label))
    return cases


def _pair_files(images: Path, labels: Path, problems: dict[str, str], channels: Sequence[str]) -> list[Case]:
    """Return cases that have an image and a label, and no more channels than are named; add others to ``problems``."""
    for folder in (images, labels):
        if unread := list_unread(folder):
            log.warning("%s: not read: %s", folder, first_few(unread))
    if below := [f"{path.name}{os.sep}" for path in shared_folders(images, labels)]:
        log.warning(
            "%s: folders are not read: %s: move their files, and those of the labels, up", images, first_few(below)
        )
    label_files, files = volumes_by_case(labels), list_volumes(images)
    surplus = surplus_channels(files, len(channels), label_files) if channels else {}
    for case, path in surplus.items():
        problems[case] = (
            f"{path}: dataset.json names {plural(len(channels), 'channel')}: remove it, or name its channel"
        )
        del label_files[case]
    files = [path for path in files if case_of_channel(path) not in surplus]
    grouped = group_channels(files, wanted=label_files)
    for case in sorted(set(grouped) - set(label_files)):
        problems[case] = f"{grouped[case][0]}: has no label: put it at {labels / case}.nii.gz, or remove the image"
    suffix = "_0000" if any(len(group) > 1 for group in grouped.values()) else ""
    for case in sorted(set(label_files) - set(grouped)):
        there = images / f"{case}{suffix}.nii.gz"
        problems[case] = f"{label_files[case]}: has no image: put it at {there}, or remove the label"
    return [Case(case, files, label_files[case]) for case, files in grouped.items() if case in label_files]


def _drop_incomplete(root: Path, cases: list[Case], problems: dict[str, str], removable: str) -> list[Case]:
    """Return the cases with all their files; add the others to ``problems``."""
    twice = sorted(case for case, count in Counter(case.id for case in cases).items() if count > 1)
    if twice:
        raise DataError(f"{root}: cases are listed twice: {', '.join(twice[:5])}: list each once")
    for case in cases:
        missing = [path for path in (*case.images, case.label) if path and not os.path.isfile(path)]
        if missing:
            advice = f"missing: put it there or remove {removable}"
            if missing[0].is_dir():
                advice = "is a folder: training reads no DICOM; convert it, for example with dcm2niix"
            elif missing[0].is_symlink():
                advice = describe_broken_link(missing[0])
            problems[case.id] = f"{', '.join(map(str, missing))}: {advice}"
    return [case for case in cases if case.id not in problems]


def _name_channels(cases: Sequence[Case], problems: Mapping[str, str]) -> tuple[str, ...]:
    """Return "channel 0", "channel 1", ... for the first case that can be read; one channel if none can."""
    for case in cases:
        if case.id not in problems:
            with warnings.catch_warnings(), suppress(DataError):  # reported later, for every image
                warnings.simplefilter("ignore")
                count = sum(len(read_volume(path).array) for path in case.images)
                return tuple(f"channel {i}" for i in range(count))
    return ("channel 0",)
