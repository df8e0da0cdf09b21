"""Bring a volume to the network's grid: RAS+ orientation, common voxel size, foreground box, z-score a channel."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.scans.geometry import ScanGrid, fit_grid, foreground_box, planes_at_once, resample_to_grid
from attention_unet.scans.labels import Labels, likeliest
from attention_unet.scans.volumes import Volume


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
class Preprocessed:
    """An image on the network's grid.

    Attributes:
        image: (C, *S) float32, mean 0 and standard deviation 1 a channel.
        air: (C,), what the darkest value of each channel has become: where nothing is brighter, there is no patient.
        scan_grid: of this grid in the scan.
    """

    image: Tensor
    air: Tensor
    scan_grid: ScanGrid


def preprocess(image: Volume, preprocessing: Preprocessing) -> Preprocessed:
    """Bring an image to the network's grid."""
    scan_grid = fit_grid(image.affine, image.grid, preprocessing.spacing_mm)
    values = resample_to_grid(image.array, scan_grid)
    bounds = foreground_box(values)
    i, j, k = (slice(first, stop) for first, stop in bounds)
    air = values.amin(dim=(1, 2, 3))
    values = values[:, i, j, k]
    for channel, darkest in zip(values, air, strict=True):
        z_score(channel, darkest, preprocessing.nonzero)
    return Preprocessed(values, air, scan_grid.cut(bounds))


def z_score(channel: Tensor, darkest: Tensor, nonzero: bool) -> None:
    """Bring a channel to mean 0 and standard deviation 1 in place, and its darkest value by the same change.

    Args:
        channel: (*S).
        darkest: scalar tensor, the darkest value of the channel's image.
        nonzero: take both over voxels that are not 0 only, and leave those at 0.
    """
    parts = torch.split(channel, planes_at_once(channel[0].numel()))  # so that none of what follows copies the whole

    def plural(part: Tensor) -> Tensor:
        return part[part != 0] if nonzero else part

    count = sum(plural(part).numel() for part in parts)
    if count == 0:
        return  # nothing but zeros
    mean = sum(float(plural(part).sum(dtype=torch.float64)) for part in parts) / count
    variance = sum(float((plural(part).double() - mean).square_().sum()) for part in parts) / count  # no overflow
    for values in (*parts, darkest):
        hidden = values == 0 if nonzero else None
        values.sub_(mean).div_(math.sqrt(variance) or 1.0)
        if hidden is not None:
            values.masked_fill_(hidden, 0.0)


def preprocess_target(label: Volume, labels: Labels, prepared: Preprocessed) -> NDArray[np.uint8]:
    """Bring a label map to the grid of its prepared image, as the network's target.

    Every class is interpolated by itself and a voxel is given to the likeliest: taking the nearest voxel instead would
    move edges by up to half a voxel, against what the image shows.

    Returns:
        Class indices (1, *S), 0 for background, or where classes overlap a mask each, (classes, *S) of 0 and 1.
    """

    def share_of(group: tuple[int, ...]) -> Tensor:
        return resample_to_grid(np.isin(label.array, group), prepared.scan_grid)[0]

    target: NDArray[np.uint8] = likeliest(map(share_of, labels.integers.values()), labels).numpy()
    return target  # one class was in memory at a time
