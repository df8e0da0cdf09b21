"""Bring a volume to the network's grid: RAS+ orientation, common voxel size, foreground box, z-score a channel."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.data.cases import Case
from attention_unet.data.labels import Labels, likeliest
from attention_unet.data.volumes import Volume, check_same_grid, read_labels, read_volume
from attention_unet.errors import DataError
from attention_unet.geometry import Placement, box_of, on_grid, place, planes_at_once


@dataclass(frozen=True)
class Preprocessing:
    """What is decided once for all volumes.

    Attributes:
        spacing_mm: voxel size of the prepared grid along RAS+ axes.
        nonzero: take mean and standard deviation over nonzero voxels only (skull-stripped or masked images).
    """

    spacing_mm: tuple[float, float, float]
    nonzero: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"spacing_mm": list(self.spacing_mm), "nonzero": self.nonzero}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Preprocessing":
        """Inverse of ``to_json``."""
        return cls(tuple(plain["spacing_mm"]), bool(plain["nonzero"]))


@dataclass(frozen=True)
class Prepared:
    """An image on the network's grid.

    Attributes:
        image: (C, *S) float32, mean 0 and standard deviation 1 a channel.
        air: (C,), what the darkest value of each channel has become: where nothing is brighter, there is no patient.
        placement: of this grid in the scan.
    """

    image: Tensor
    air: Tensor
    placement: Placement


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


def prepare(image: Volume, preprocessing: Preprocessing) -> Prepared:
    """Bring an image to the network's grid."""
    placement = place(image.affine, image.grid, preprocessing.spacing_mm)
    values = on_grid(image.array, placement)
    bounds = foreground_box(values)
    i, j, k = (slice(first, stop) for first, stop in bounds)
    air = values.amin(dim=(1, 2, 3))
    values = values[:, i, j, k]
    for channel, darkest in zip(values, air, strict=True):
        z_score(channel, darkest, preprocessing.nonzero)
    return Prepared(values, air, placement.cut(bounds))


def z_score(channel: Tensor, darkest: Tensor, nonzero: bool) -> None:
    """Bring a channel to mean 0 and standard deviation 1 in place, and its darkest value by the same change.

    Args:
        channel: (*S).
        darkest: scalar tensor, the darkest value of the channel's image.
        nonzero: take both over voxels that are not 0 only, and leave those at 0.
    """
    parts = torch.split(channel, planes_at_once(channel[0].numel()))  # so that none of what follows copies the whole

    def counted(part: Tensor) -> Tensor:
        return part[part != 0] if nonzero else part

    count = sum(counted(part).numel() for part in parts)
    if count == 0:
        return  # nothing but zeros
    mean = sum(float(counted(part).sum(dtype=torch.float64)) for part in parts) / count
    variance = sum(float((counted(part).double() - mean).square_().sum()) for part in parts) / count  # no overflow
    for values in (*parts, darkest):
        hidden = values == 0 if nonzero else None
        values.sub_(mean).div_(math.sqrt(variance) or 1.0)
        if hidden is not None:
            values.masked_fill_(hidden, 0.0)


def prepare_target(label: Volume, labels: Labels, prepared: Prepared) -> NDArray[np.uint8]:
    """Bring a label map to the grid of its prepared image, as the network's target.

    Every class is interpolated by itself and a voxel is given to the likeliest: taking the nearest voxel instead would
    move edges by up to half a voxel, against what the image shows.

    Returns:
        Class indices (1, *S), 0 for background, or where classes overlap a mask each, (classes, *S) of 0 and 1.
    """

    def share_of(group: tuple[int, ...]) -> Tensor:
        return on_grid(np.isin(label.array, group), prepared.placement)[0]

    target: NDArray[np.uint8] = likeliest(map(share_of, labels.integers.values()), labels).numpy()
    return target  # one class was in memory at a time


def foreground_box(image: Tensor) -> list[tuple[int, int]]:
    """Bounds (start, stop) along each spatial axis of what is brighter than the darkest voxel of (C, *S); of a constant
    image the whole."""
    brighter = (image > image.amin(dim=(1, 2, 3), keepdim=True)).any(dim=0)
    mask: NDArray[np.bool_] = brighter.numpy()  # whose any is the faster one
    box = [(edge.start, edge.stop) for edge in box_of(mask)]
    return box if all(start < stop for start, stop in box) else [(0, n) for n in mask.shape]
