"""Read the channels and classes of a dataset from its ``dataset.json`` or its label files."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_unet.errors import DataError, first_few
from attention_unet.files.json_file import read_object
from attention_unet.scans.itk_header import segment_names
from attention_unet.scans.labels import RESERVED, Labels
from attention_unet.scans.volumes import read_labels

MOST_CLASSES = 254  # the network's targets are bytes
NORMALISATIONS = ("ct", "nonorm", "rescale_to_0_1", "rgb_to_0_1")  # names by which nnU-Net chooses another than z-score

log = logging.getLogger(__name__)


def describe_channels(path: Path) -> tuple[str, ...]:
    """Return the names of the channels in a ``dataset.json`` in order; an empty tuple if it names no channel.

    Raise DataError if the channels are not an object from number to name, or two have one name.
    """
    description = read_object(path)
    channels = description.get("channel_names") or description.get("modality") or {}
    try:
        if not isinstance(channels, dict):
            raise TypeError
        names = tuple(str(channels[key]) for key in sorted(channels, key=int))
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: channels are {channels!r}: expected an object from number to name") from error
    if len(set(names)) < len(names):
        raise DataError(
            f"{path}: channels are called {', '.join(names)}: expected different names; rename them in this file"
        )
    if chosen := [name for name in names if name.casefold() in NORMALISATIONS]:
        log.warning("%s: %s: only names here: each scan gets mean 0 and standard deviation 1", path, first_few(chosen))
    return names


def describe_labels(path: Path) -> Labels:
    """Return the classes of a ``dataset.json``.

    Decathlon writes {"1": name}. nnU-Net writes {name: 1} or, for regions, {name: [1, 2]}. Raise DataError if the
    labels have another form, or their number or names are not supported.
    """
    description = read_object(path)
    integers: dict[str, tuple[int, ...]] = {}
    try:
        for key, value in description["labels"].items():
            name, group = (value, key) if isinstance(value, str) and key.isdigit() else (key, value)
            if str(name).lower() == "ignore" != name:
                raise DataError(f"{path}: a class is called {name!r}: write 'ignore' for voxels that nobody annotated")
            if str(name) in RESERVED:
                raise DataError(f"{path}: a class is called {name!r}, a reserved name: rename it")
            if str(name) in integers:
                raise DataError(f"{path}: the label {name!r} is there twice: expected one name per class")
            numbers = tuple(dict.fromkeys(map(_parse_integer, group if isinstance(group, list) else [group])))
            if not numbers:
                raise ValueError(f"{name!r} has no integer")
            if 0 in numbers and len(numbers) > 1:
                raise ValueError(f"{name!r} contains 0, the background")
            if numbers != (0,) or name == "ignore":
                integers[str(name)] = numbers
        ignored = integers.pop("ignore", ())
        if len(ignored) > 1 or {0}.union(*integers.values()) & set(ignored):
            raise ValueError("'ignore' needs an integer of its own, above 0")
        groups = list(integers.values())
        of_all = [integer for group in groups for integer in group]
        one_each = len(of_all) == len(set(of_all)) == len(groups)
        if len(of_all) > len(set(of_all)) and "regions_class_order" not in description:
            raise DataError(f"{path}: classes overlap: expected regions_class_order, one integer per class")
        order = None if one_each else description.get("regions_class_order")
        region_order = tuple(group[0] for group in groups) if order is None else tuple(map(_parse_integer, order))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        expected = 'expected such as {"lesion": 1}'
        raise DataError(f"{path}: labels do not map names to integers ({error}): {expected}") from error
    _limit_classes(len(integers), path)
    if not integers:
        raise DataError(f"{path}: labels name no class: expected at least one besides the background")
    if len(region_order) != len(integers):
        count = len(region_order)
        raise DataError(f"{path}: regions_class_order has {count} integers: expected {len(integers)}, one per class")
    for name, integer in zip(integers, region_order, strict=True):
        if integer not in integers[name] or region_order.count(integer) > 1:
            raise DataError(
                f"{path}: regions_class_order has {integer} for {name!r}: expected one of the integers of this class, "
                "another for each class"
            )
    return Labels(integers, region_order, ignored[0] if ignored else None)


def _parse_integer(plain: object) -> int:
    """Return a whole number, 0 to 2**32 - 1, from a JSON number or a key; 1.7 and true are invalid."""
    if isinstance(plain, bool) or not (isinstance(plain, int) or (isinstance(plain, str) and plain.isdecimal())):
        raise ValueError(f"{plain!r} is not an integer")
    if not 0 <= int(plain) < 2**32:
        raise ValueError(f"{plain!r} is not from 0 to 2**32 - 1")
    return int(plain)


def find_labels_in_files(files: Mapping[str, Path], problems: dict[str, str]) -> Labels:
    """Make one class of each integer above 0 in label files, for datasets without a description.

    Unreadable files are added to ``problems``. Raise DataError if no file has a class, there are too many classes, or
    segments of one integer have several names.
    """
    values: set[int] = set()
    called: dict[int, set[str]] = {}  # names of segments of 3D Slicer
    for case, path in files.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are reported when the voxels are used
                present = {int(v) for v in np.unique(read_labels(path).array)}
                values |= present
                for value, name in segment_names(path).items():
                    if value in present:
                        called.setdefault(value, set()).add(name.casefold())
        except DataError as error:
            problems[case] = str(error)
    if differing := [f"{value} is {' and '.join(sorted(names))}" for value, names in called.items() if len(names) > 1]:
        place = next(iter(files.values())).parent
        raise DataError(
            f"{place}: integers have several names of segments ({'; '.join(differing)}): if they are different "
            'structures, renumber them; otherwise name the classes in dataset.json, such as {"labels": {"liver": 1}}'
        )
    integers = sorted(values - {0})
    if not integers:
        places = [f"{path.parent}: " for path in files.values()][:1] or [""] * (not problems)
        texts = [f"{place}no label map has a class: expected integers above 0" for place in places]
        raise DataError("\n".join([*problems.values(), *texts]))
    _limit_classes(len(integers), next(iter(files.values())).parent)
    return Labels({f"label {v}": (v,) for v in integers}, tuple(integers))


def read_description(file: Path) -> dict[str, Any]:
    """Read a ``dataset.json``; empty if there is none. Raise DataError if it cannot be read, as a link to nothing."""
    return read_object(file) if os.path.lexists(file) else {}


def describe_unannotated(file: Path, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the classes that cases do not annotate, by case id.

    The field "annotated" of a ``dataset.json`` lists the annotated classes of some cases. All others annotate all
    classes. Raise DataError if the field has another form, or names an unknown class.
    """
    annotated = read_description(file).get("annotated", {})
    lists = annotated.values() if isinstance(annotated, dict) else [None]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise DataError(
            f'{file}: annotated is {annotated!r}: expected lists of classes by case, such as {{"a": ["b"]}}'
        )
    if unknown := {name for names in annotated.values() for name in names} - set(classes):
        raise DataError(f"{file}: annotated names {first_few(unknown)}: no such class; expected {first_few(classes)}")
    return {case: tuple(name for name in classes if name not in names) for case, names in annotated.items()}


def _limit_classes(classes: int, source: Path) -> None:
    if classes > MOST_CLASSES:
        raise DataError(f"{source}: has {classes} classes: expected label maps of at most {MOST_CLASSES}")
