"""Preprocess volumes: RAS+ orientation, common voxel size, foreground box, z-score of each channel."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.scans.foreground import find_background, foreground_box
from attention_unet.scans.geometry import DECIMALS, ScanGrid, fit_grid, planes_at_once, resample_to_grid
from attention_unet.scans.labels import Labels, assign_classes, assign_known_classes, mask_of
from attention_unet.scans.orientation import Stack
from attention_unet.scans.volumes import Volume

FARTHEST = 25.0  # standard deviations from the mean; the brightest voxels of 205 scans and phantoms had at most 13.4
HALF = 0.5 - 1e-5  # so that rounding does not decide where exactly half of a voxel is not 0
ROUNDS = 3  # of clipping; each brings a spike closer to the others


@dataclass(frozen=True)
class Preprocessing:
    """Settings of preprocessing, the same for all volumes."""

    # Voxel size of the network's grid along its axes; along thick slices the typical one.
    spacing_mm: tuple[float, float, float]
    nonzero: bool  # compute mean and standard deviation from nonzero voxels only (skull-stripped or masked images)
    stack: Stack | None = None  # how the thick slices of the dataset lie, however oblique; None if it has none

    @property
    def stack_axis(self) -> int | None:
        """Axis of the network along which thick slices follow each other; None if the dataset has none."""
        return self.stack.axis if self.stack else None


@dataclass(frozen=True)
class Preprocessed:
    """An image on the network's grid."""

    # (C, *S) float32, cropped to the foreground box. Each channel has mean 0 and standard deviation 1; with ``nonzero``
    # its nonzero voxels have, and zeros stay 0. A constant channel is 0.
    image: Tensor
    background: Tensor  # (C,), normalised value of the background of each channel
    scan_grid: ScanGrid  # position of the network's grid in the scan


def preprocess(scan: Volume, preprocessing: Preprocessing) -> Preprocessed:
    """Bring a scan to the network's grid."""
    scan_grid = fit_grid(scan.affine, scan.grid, preprocessing.spacing_mm, preprocessing.stack)
    values = resample_to_grid(scan.array, scan_grid)
    if preprocessing.nonzero and scan_grid.step != (1.0, 1.0, 1.0):
        # Average over nonzero voxels: zeros would give a masked scan a dark rim. Where most are 0, it is 0.
        for channel, scanned in zip(values, scan.array, strict=True):
            share = resample_to_grid(scanned[None] != 0, scan_grid)[0]  # of each voxel that was not 0 in the scan
            inside = share >= HALF
            channel.div_(share.clamp_(min=HALF)).mul_(inside)
            del share, inside  # before the next channel, and the steps below, take memory
    background = find_background(values)
    bounds = foreground_box(values, background)
    i, j, k = (slice(first, stop) for first, stop in bounds)
    values = values[:, i, j, k]
    for channel, value in zip(values, background, strict=True):
        z_score(channel, value, preprocessing.nonzero)
    return Preprocessed(values, background, scan_grid.cut(bounds))


def z_score(channel: Tensor, background: Tensor, nonzero: bool) -> None:
    """Normalise a channel (*S) to mean 0 and standard deviation 1 in place, and its background in the same way.

    With ``nonzero`` by its nonzero voxels only; the others stay 0. Voxels further than ``FARTHEST`` standard deviations
    from the mean, such as spikes, are set to that distance: one of them would take the contrast of all others.
    """
    _standardise(channel, background, nonzero)
    for _ in range(ROUNDS):
        low, high = channel.aminmax()
        if max(-low, high) > FARTHEST:
            for values in (channel, background):
                values.clamp_(-FARTHEST, FARTHEST)
            _standardise(channel, background, nonzero)


def _standardise(channel: Tensor, background: Tensor, nonzero: bool) -> None:
    """Bring a channel (*S) to mean 0 and standard deviation 1 in place, and its background in the same way."""
    parts = torch.split(channel, planes_at_once(channel[0].numel()))  # so that no step copies the whole channel

    def select(part: Tensor) -> Tensor:
        return part[part != 0] if nonzero else part

    count = sum(select(part).numel() for part in parts)
    if count == 0:
        return  # all voxels are 0
    mean = sum(float(select(part).sum(dtype=torch.float64)) for part in parts) / count
    variance = sum(float((select(part).double() - mean).square_().sum()) for part in parts) / count  # no overflow
    for values in (*parts, background):
        zeros = values == 0 if nonzero else None
        values.sub_(mean).div_(math.sqrt(variance) or 1.0)
        if zeros is not None:
            values.masked_fill_(zeros, 0.0)


def preprocess_target(
    label: Volume, labels: Labels, image: Preprocessed, unannotated: Collection[str] = ()
) -> NDArray[np.uint8]:
    """Bring a label map to the grid of its preprocessed image, as the network's target.

    Voxels of ``unannotated`` classes count as background.

    Each class is interpolated separately, and each voxel gets the class with the largest share. The nearest voxel
    instead would shift edges by up to half a voxel against the image.

    Returns:
        Class indices (1, *S), 0 for background; if classes overlap, one mask per class, (classes, *S) of 0 and 1.
        Ignored voxels are 255: no annotated voxel of the label map has its centre in them or, if they are smaller than
        those of the label map, the nearest one is not annotated.
    """

    def resample(group: tuple[int, ...]) -> Tensor:
        return resample_to_grid(mask_of(label.array, group), image.scan_grid)[0]

    groups = [() if name in unannotated else group for name, group in labels.integers.items()]
    shares = map(resample, groups)  # lazy: one class in memory at a time
    if labels.ignore is None:
        return np.asarray(assign_classes(shares, labels))
    known = torch.from_numpy(_mark_on_grid(label.array[0] != labels.ignore, image.scan_grid))
    return np.asarray(assign_known_classes(shares, labels, 1 - resample((labels.ignore,)), known))


def _mark_on_grid(marked: NDArray[np.bool_], scan_grid: ScanGrid) -> NDArray[np.bool_]:
    """Return which voxels of the network's grid hold the centre of a marked voxel (I, J, K) of the scan.

    Along axes on which they are smaller than voxels of the scan, the nearest voxel decides.
    """
    result = scan_grid.orient(marked)
    for n, start, step in zip(scan_grid.grid, scan_grid.start, scan_grid.step, strict=True):
        middle, half = np.round((np.arange(n) + start) * step, DECIMALS), max(step, 1.0) / 2
        first, last = np.ceil(middle - half).astype(int), len(result) - 1
        candidates = [first + i for i in range(math.ceil(max(step, 1.0)))]
        parts = [result[c.clip(0, last)] & (c < middle + half)[:, None, None] for c in candidates]
        result = np.moveaxis(np.logical_or.reduce(parts), 0, -1)  # the next axis comes first
    return result
