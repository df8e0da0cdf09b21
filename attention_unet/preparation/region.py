"""Decide whether to train on a part of the scans, around the structures, and plan the locator that finds this part.

Where structures fill a small part of large scans, most patches would hold none of them, and most windows, too. A
locator, a small network that sees a whole scan in coarse voxels, then finds the part to look at.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attention_unet.config import Config
from attention_unet.network.architecture import Architecture
from attention_unet.preparation.fingerprint import Fingerprint
from attention_unet.preparation.levels import SMALLEST_EDGE, plan_levels
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.spacing import scan_spacing, typical_extent
from attention_unet.scans.labels import Labels

COARSE_VOXELS = 2**17  # of a typical scan
MARGINS = (1, 2, 3)  # coarse voxels around those in which structures are found; the smallest that is safe
CHANNELS, LEVELS = 8, 4
SMALL = 0.4  # share of a typical scan that its structures, with margins, may fill
SHARE = 0.1  # of the budget, for the locator
FEWEST_SECONDS, FEWEST_STEPS, MOST_STEPS = 30, 100, 400  # of its training


def may_locate(config: Config) -> bool:
    """Return whether a locator is configured, and a tenth of the budget is enough to train it."""
    minutes, steps = config.training.budget_minutes, config.training.steps
    enough = SHARE * 60 * minutes >= FEWEST_SECONDS if minutes else SHARE * (steps or 0) >= FEWEST_STEPS
    return config.data.locate and enough


def region_extent(fingerprint: Fingerprint) -> NDArray[np.float64] | None:
    """Return the extent of structures with margins along RAS+ axes (3,), in mm.

    None if they fill much of the scans, or if scans are so small that a locator would see them in all their voxels.
    """
    whole, spacing = typical_extent(fingerprint), np.array(scan_spacing(fingerprint))
    factors = choose_factors([tuple(whole / spacing)], spacing.tolist())
    if not len(fingerprint.structures_mm) or max(factors) == 1:
        return None
    coarse_mm = spacing * factors
    extent: NDArray[np.float64] = np.median(fingerprint.structures_mm, axis=0) + 2 * (1 + MARGINS[0]) * coarse_mm
    extent = np.minimum(extent, whole)
    if fingerprint.stack is not None:  # no thick slice is left out
        extent[fingerprint.stack.axis] = whole[fingerprint.stack.axis]
    return extent if np.prod(extent) <= SMALL * np.prod(whole) else None


def choose_factors(grids: Sequence[Sequence[float]], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Return how many voxels of a grid make a coarse voxel along each axis, so that a typical scan has few of them."""
    grid, spacing = np.median(np.array(grids), axis=0), np.array(spacing_mm)
    edges = (spacing.min() * 2 ** (step / 4) for step in itertools.count())
    candidates = (np.maximum(np.round(edge / spacing), 1) for edge in edges)
    factors = next(each for each in candidates if np.prod(np.ceil(grid / each)) <= COARSE_VOXELS)
    return tuple(factors.astype(int).tolist())


def plan_coarsely(plan: Plan, factors: tuple[int, int, int], grids: Sequence[Sequence[int]], processes: int) -> Plan:
    """Return the plan of a locator, whose voxels are larger by the factors. Its patch is a typical one of the grids."""
    spacing = np.array(plan.preprocessing.spacing_mm) * factors
    size = np.ceil(np.median(np.array(grids), axis=0) / factors)
    size[size == 2] = SMALLEST_EDGE  # because of oneDNN, see plan_levels
    strides, kernels = plan_levels(size, spacing, LEVELS)
    divisor = np.prod(strides, axis=0)
    return dataclasses.replace(
        plan,
        labels=Labels({"structures": (1,)}, (1,)),
        preprocessing=dataclasses.replace(plan.preprocessing, spacing_mm=tuple(spacing.tolist())),
        patch=tuple((np.ceil(size / divisor) * divisor).astype(int).tolist()),
        slice_axis=None,
        batch=2 * processes,
        region_mm=None,
        architecture=Architecture(
            in_channels=len(plan.channels),
            channels=[CHANNELS * 2**level for level in range(len(kernels))],
            strides=strides,
            kernels=kernels,
            decoder_convs=1,
            skips="identity",
        ),
    )
