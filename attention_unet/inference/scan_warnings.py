"""Warn about a scan that is unlike those of the training."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import times
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessed
from attention_unet.scans.geometry import ScanGrid
from attention_unet.scans.orientation import describe_turn
from attention_unet.scans.volumes import Volume

# Times the largest training case along an axis; for small scans, of that or of a window, the smaller.
MUCH_LARGER, MUCH_SMALLER = 2.0, 0.25
MUCH_COARSER = 3.0  # times the voxel size of the training
SAMPLES = 128  # voxels along each axis that are looked at
FEW_VALUES = 12  # at most that many different values make a scan look like a mask
LITTLE = 0.5  # times the usual extent along an axis of the part that a locator finds
AXES = "left-right by back-front by down-up"


def warn_if_unusual(volume: Volume, images: Sequence[Preprocessed], plan: Plan) -> None:
    """Warn if a scan is empty or a mask, or of much other size, much coarser or turned against the training cases."""
    if not any(each.image.any() for each in images):
        _warn(volume, "is empty: all voxels have the same value; check the file")
    i, j, k = (slice(None, None, -(-n // SAMPLES)) for n in volume.grid)
    channels = volume.array[:, i, j, k].reshape(len(volume.array), -1)
    if len(np.unique(channels[:, ::16])) <= FEW_VALUES and 1 < len(values := np.unique(channels)) <= FEW_VALUES:
        *others, last = (f"{value:g}" for value in values)
        _warn(volume, f"has only the values {', '.join(others)} and {last}: is it a mask?")
    spacing_mm, largest_mm = np.array(plan.preprocessing.spacing_mm), np.array(plan.largest_mm)
    scan_grid = images[0].scan_grid
    size_mm, scan_mm = _extent_mm(scan_grid), scan_grid.scan_mm
    window_mm = np.array(plan.patch) * spacing_mm
    size, largest = (times(edges, ".0f") for edges in (size_mm, largest_mm))
    about = f"is about {size} mm, {AXES}; the model was trained on scans of up to about {largest} mm and may"
    if (size_mm > MUCH_LARGER * largest_mm).any():
        _warn(volume, f"{about} label other structures by mistake: crop the scan")
    elif (size_mm < MUCH_SMALLER * np.minimum(largest_mm, window_mm)).any():
        _warn(volume, f"{about} fail on such a small part: predict the uncropped scan")
    if min(scan_grid.step) < 1 / MUCH_COARSER:
        own, trained = (times(size, ".3g") for size in (scan_mm, spacing_mm))
        _warn(volume, f"has voxels of {own} mm, {AXES}: the model was trained on {trained} mm: expect a worse mask")
    stack = plan.preprocessing.stack
    if stack is not None and (turn := describe_turn(volume.affine, stack)):
        _warn(volume, turn)


def warn_if_little_is_predicted(volume: Volume, part: ScanGrid, whole: ScanGrid, plan: Plan) -> None:
    """Warn if a locator left out so much of a scan that the rest is much smaller than usual."""
    if plan.region_mm is None or part == whole:
        return
    part_mm, scan_mm = (_extent_mm(scan_grid) for scan_grid in (part, whole))
    usual_mm = np.minimum(plan.region_mm, scan_mm)
    if (part_mm < LITTLE * usual_mm).any():
        little, usual = (times(edges, ".0f") for edges in (part_mm, usual_mm))
        _warn(
            volume,
            f"structures were located in only {little} mm, {AXES}, where about {usual} mm are usual; the rest is "
            "background: look at the mask, or predict all of the scan with --whole-scan",
        )


def _extent_mm(scan_grid: ScanGrid) -> NDArray[np.float64]:
    """Return the extent of a box of a scan along the axes of the network (3,)."""
    return np.array(scan_grid.grid) * scan_grid.step * scan_grid.scan_mm


def _warn(volume: Volume, text: str) -> None:
    warnings.warn(f"{volume.path}: {text}", stacklevel=4)
