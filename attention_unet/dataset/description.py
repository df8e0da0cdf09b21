"""What the channels and classes of a dataset are: as its ``dataset.json`` tells, or as its files show."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attention_unet.errors import DataError
from attention_unet.files.json_file import read_object
from attention_unet.scans.labels import RESERVED, Labels
from attention_unet.scans.volumes import read_labels

MOST_CLASSES = 254  # the network's targets are bytes


def describe_channels(path: Path) -> tuple[str, ...]:
    """Names of the channels by number; none where a ``dataset.json`` does not tell.

    Raises:
        DataError: if they are not so written.
    """
    description = read_object(path)
    channels = description.get("channel_names") or description.get("modality") or {}
    try:
        if not isinstance(channels, dict):
            raise TypeError
        return tuple(str(channels[key]) for key in sorted(channels, key=int))
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: channels are {channels!r}: expected an object from number to name") from error


def describe_labels(path: Path) -> Labels:
    """Classes of a ``dataset.json``: Decathlon writes {"1": name}, nnU-Net {name: 1} or, for regions, {name: [1, 2]}.

    Raises:
        DataError: if they are not so written.
    """
    description = read_object(path)
    integers: dict[str, tuple[int, ...]] = {}
    try:
        for key, value in description["labels"].items():
            name, group = (value, key) if isinstance(value, str) and key.isdigit() else (key, value)
            if str(name) == "ignore":
                raise DataError(f"{path}: has a label to ignore, which is not supported: take it out or rename it")
            if str(name) in RESERVED:
                raise DataError(f"{path}: a class is called {name!r}, which tables use for another thing: rename it")
            if str(name) in integers:
                raise DataError(f"{path}: the label {name!r} is there twice: expected a name a class")
            numbers = tuple(map(_integer, group if isinstance(group, list) else [group]))
            if not numbers:
                raise ValueError(f"{name!r} has none")
            if 0 in numbers and len(numbers) > 1:
                raise ValueError(f"{name!r} holds 0, which is the background")
            if numbers != (0,):
                integers[str(name)] = numbers
        painted = tuple(
            map(_integer, description.get("regions_class_order", [group[0] for group in integers.values()]))
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: labels are not name: integer ({error}): expected that") from error
    _limit_classes(len(integers), path)
    if not integers:
        raise DataError(f"{path}: labels name no class: expected at least one beside the background")
    if len(painted) != len(integers):
        raise DataError(f"{path}: {len(integers)} classes, {len(painted)} in regions_class_order: must agree")
    labels = Labels(integers, painted)
    if labels.overlapping and "regions_class_order" not in description:
        raise DataError(f"{path}: classes overlap: expected regions_class_order, the integer of each")
    return labels


def _integer(plain: object) -> int:
    """A whole number of at least 0, which JSON's keys can only hold as text; neither 1.7 nor true is one."""
    if isinstance(plain, bool) or not (isinstance(plain, int) or (isinstance(plain, str) and plain.isdecimal())):
        raise ValueError(f"{plain!r} is none")
    if int(plain) < 0:
        raise ValueError(f"{plain!r} is below 0")
    return int(plain)


def labels_in_files(files: Mapping[str, Path], problems: dict[str, str]) -> Labels:
    """Classes without a description: the integers that occur in label files.

    Args:
        files: label file of each case.
        problems: by case; files that cannot be read are added.

    Raises:
        DataError: if there are none.
    """
    values: set[int] = set()
    for case, path in files.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # told when it is read for its voxels
                values |= {int(v) for v in np.unique(read_labels(path).array)}
        except DataError as error:
            problems[case] = str(error)
    found = sorted(values - {0})
    if not found:
        folder = next((path.parent for path in files.values()), Path())
        text = f"{folder}: no label map has a class: expected integers above 0"
        raise DataError("\n".join([*problems.values(), text]))
    _limit_classes(len(found), next(iter(files.values())).parent)
    return Labels({f"label {v}": (v,) for v in found}, tuple(found))


def _limit_classes(classes: int, source: Path) -> None:
    if classes > MOST_CLASSES:
        raise DataError(f"{source}: has {classes} classes: expected label maps of at most {MOST_CLASSES}")
