"""Warn about a scan that is unlike those of the training."""

import warnings
from collections.abc import Iterable

import numpy as np

from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessed
from attention_unet.scans.volumes import Volume

# Times the largest training case along an axis; for small scans, of that or of a window, the smaller.
MUCH_LARGER, MUCH_SMALLER = 2.0, 0.25
MUCH_COARSER = 3.0  # times the voxel size of the training
AXES = "left-right by back-front by down-up"


def warn_if_unusual(volume: Volume, images: Iterable[Preprocessed], image: Preprocessed, plan: Plan) -> None:
    """Warn if a scan is empty, or of much other size or much coarser than the training cases.

    Args:
        volume: the scan.
        images: the scan, preprocessed for each model.
        image: the one of the first model.
        plan: the plan of the first model.
    """
    if not any(each.image.any() for each in images):
        _warn(volume, "shows nothing, all voxels are alike")
    spacing_mm, largest_mm = np.array(plan.preprocessing.spacing_mm), np.array(plan.largest_mm)
    size_mm, window_mm = np.array(image.scan_grid.grid) * spacing_mm, np.array(plan.patch) * spacing_mm
    size, largest = (" x ".join(f"{edge:.0f}" for edge in edges) for edges in (size_mm, largest_mm))
    about = f"is about {size} mm, {AXES}; the model was trained on scans of up to about {largest} mm and may"
    if (size_mm > MUCH_LARGER * largest_mm).any():
        _warn(volume, f"{about} label what it does not know: crop the scan")
    elif (size_mm < MUCH_SMALLER * np.minimum(largest_mm, window_mm)).any():
        _warn(volume, f"{about} not know what shows so little")
    if min(image.scan_grid.step) < 1 / MUCH_COARSER:
        own, trained = (
            " x ".join(f"{mm:.3g}" for mm in size) for size in (spacing_mm / image.scan_grid.step, spacing_mm)
        )
        _warn(volume, f"has voxels of {own} mm, {AXES}: the model was trained for {trained} mm, much finer ones")


def _warn(volume: Volume, text: str) -> None:
    warnings.warn(f"{volume.path}: {text}", stacklevel=4)
