"""Read the image and the label map of a case."""

import os
import warnings
from dataclasses import replace

import numpy as np

from attention_unet.dataset.cases import Case
from attention_unet.dataset.synthetic_scan import synthesize_scan
from attention_unet.errors import DataError, plural
from attention_unet.scans.itk_header import segment_names
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume, check_same_grid, read_labels, read_volume


def without_absent_files(case: Case) -> Case:
    """Return a case of one file per channel without the files that do not exist: their channels are absent."""
    absent = tuple(number for number, path in enumerate(case.images) if not os.path.lexists(path))
    there = tuple(path for number, path in enumerate(case.images) if number not in absent)
    return replace(case, images=there, absent=absent) if there else case


def read_channels(case: Case, memory: int | None = None) -> Volume:
    """Read the image of a case, or synthesize it from the label map.

    Files of single channels are stacked in order; absent channels are 0. Raise DataError if a file is damaged or too
    large, or the channels have different grids.
    """
    if case.synthetic:
        return synthesize_scan(read_labels(case.images[0], memory), case.id)
    if len(case.images) == 1 and not case.absent:
        return read_volume(case.images[0], memory)
    count = len(case.images) + len(case.absent)
    share = None if memory is None else memory // (2 * count)  # per file; np.concatenate copies each once
    volumes = [read_volume(path, share) for path in case.images]
    first = volumes[0]
    for other in volumes[1:]:
        check_same_grid(other, first)
    together = Volume(first.path, np.concatenate([v.array for v in volumes]), first.affine, first.header)
    return together.with_empty_channels(case.absent) if case.absent else together


def read_case_label(case: Case, image: Volume, memory: int | None = None) -> Volume:
    """Read the label map of a case. Raise DataError if it is damaged, or has another grid than the image."""
    if case.label is None:
        raise DataError(f"{image.path}: has no label: expected one for training or evaluation")
    label = read_labels(case.label, memory)
    check_same_grid(label, image)
    return label


def read_case(case: Case, channels: int, labels: Labels) -> tuple[Volume, Volume, list[str]]:
    """Read image and label map of a training case, check them, and return them with the warnings of their readers.

    Raise DataError if a file is damaged, missing or has another grid, or channels or labels are not the dataset's.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_channels(case)
        if len(image.array) != channels:
            raise DataError(
                f"{image.path}: has {plural(len(image.array), 'channel')}, the dataset {channels}: must agree; "
                "of a 4-D file of time points, keep one"
            )
        label = read_case_label(case, image)
    check_segments(label, labels)
    unknown = labels.unknown(label.array)
    if unknown:
        known = ", ".join(f"{name} {list(group)}" for name, group in labels.integers.items())
        raise DataError(f"{label.path}: holds the labels {unknown[:10]}: expected 0 and {known}; see dataset.json")
    return image, label, [str(warning.message) for warning in caught]


def check_segments(label: Volume, labels: Labels) -> None:
    """Raise DataError if segments of a file of 3D Slicer have other integers than the classes with the same names.

    3D Slicer numbers the segments of each file anew.
    """
    by_lower_case = {name.casefold(): group for name, group in labels.integers.items()}
    segments = segment_names(label.path).items()
    expected = {value: labels.integers.get(name, by_lower_case.get(name.casefold(), ())) for value, name in segments}
    wrong = [
        f"{value} is {name}, expected {', '.join(map(str, expected[value]))}"
        for value, name in segments
        if expected[value] and value not in expected[value] and (label.array == value).any()
    ]
    if wrong:
        raise DataError(f"{label.path}: segments have other integers than classes ({'; '.join(wrong)}): renumber them")
