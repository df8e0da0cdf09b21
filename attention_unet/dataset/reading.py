"""Read the image and the label of a case."""

import numpy as np

from attention_unet.dataset.cases import Case
from attention_unet.errors import DataError
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume, check_same_grid, read_labels, read_volume


def read_channels(case: Case, memory: int | None = None) -> Volume:
    """Read the image of a case; files of single channels are stacked in order.

    Args:
        case: to read.
        memory: bytes that reading may take, most of what is free if None.

    Raises:
        DataError: if a file is damaged or too large, or the channels lie on different grids.
    """
    if len(case.images) == 1:
        return read_volume(case.images[0], memory)
    share = None if memory is None else memory // (2 * len(case.images))  # of each, which is copied once
    volumes = [read_volume(path, share) for path in case.images]
    first = volumes[0]
    for other in volumes[1:]:
        check_same_grid(other, first)
    return Volume(first.path, np.concatenate([v.array for v in volumes]), first.affine, first.header)


def read_label_of(case: Case, image: Volume, memory: int | None = None) -> Volume:
    """Read the label of a case and check that it lies on the image.

    Args:
        case: to read.
        image: of it.
        memory: bytes that reading may take, most of what is free if None.

    Raises:
        DataError: if there is none, it is damaged, or it lies elsewhere.
    """
    if case.label is None:
        raise DataError(f"{image.path}: has no label: expected one to train on or to score against")
    label = read_labels(case.label, memory)
    check_same_grid(label, image)
    return label


def read_case(case: Case, channels: int, labels: Labels) -> tuple[Volume, Volume]:
    """Read image and label of a case to learn from, and check that they are what the dataset says.

    Raises:
        DataError: if a file is damaged, missing or lies elsewhere, or holds other channels or labels.
    """
    image = read_channels(case)
    if len(image.array) != channels:
        raise DataError(f"{image.path}: has {len(image.array)} channels, the dataset has {channels}: must agree")
    label = read_label_of(case, image)
    unknown = labels.unknown(label.array)
    if unknown:
        known = ", ".join(f"{name} {list(group)}" for name, group in labels.integers.items())
        raise DataError(f"{label.path}: holds the labels {unknown[:10]}: expected 0 and {known}; see dataset.json")
    return image, label
