"""Choose the voxel size of the network's grid: fine enough for the classes, coarse enough for a patch to see context.

A small patch of fine voxels sees a few centimetres. Without more context, a network confuses neighbours that look
alike, and finds structures where none are. Coarser voxels show more in the same computing time.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from attention_unet.config import Config
from attention_unet.errors import ConfigError
from attention_unet.preparation.fingerprint import Fingerprint
from attention_unet.preparation.plan import AXES, Plan
from attention_unet.scans.geometry import OWN_SLICES, fit_grid, resample_to_grid, resample_to_scan
from attention_unet.scans.orientation import THICK, Stack

SEEN = 0.5  # share that a patch should see of a typical scan, or of the part that a locator finds
KEPT = 0.97  # Dice that label maps must keep; docs/experiments.md, 2026-11-23
# A patch that sees less of a scan, or of the part that a locator finds, may cost more of the label maps' Dice.
SEEN_AT_LEAST, SEEN_OF_PART = 1 / 6, 1 / 10
KEPT_AT_LEAST = 0.93
FACTOR = 2 ** (1 / 6)  # from one voxel size that is tried to the next
MOST_STEPS = 12  # at most four times as coarse


def choose_spacing(
    fingerprint: Fingerprint,
    extent_mm: np.ndarray,
    in_plane: np.ndarray,
    patch_voxels: int,
    seen_at_least: float = SEEN_AT_LEAST,
) -> list[float]:
    """Return the voxel size along RAS+ axes, in mm.

    It is that of the scans, or coarser: as coarse as a patch needs to see half of a typical scan, or of the part that a
    locator finds, if label maps keep a mean Dice of 0.97; to see ``seen_at_least``, 0.93 is enough. A single class may
    lose twice as much.

    ``extent_mm`` is the extent of a typical scan, or of that part, and ``in_plane`` are the axes that the network sees.
    Without shapes, voxels are as fine as those of the scans.
    """
    finest = np.array(scan_spacing(fingerprint))
    chosen = finest
    for step in range(1, MOST_STEPS + 1 if fingerprint.shapes else 1):
        seen = patch_voxels / np.prod(typical_grid(fingerprint, extent_mm, chosen)[in_plane])
        if seen >= SEEN:
            break
        edge = float(f"{finest[in_plane].min() * FACTOR**step:.3g}")
        coarser = np.where(in_plane, np.maximum(finest, edge), finest)
        if fingerprint.stack:
            coarser[fingerprint.stack.axis] = finest[fingerprint.stack.axis]
        kept = kept_dice(fingerprint, coarser.tolist())
        least = KEPT if seen >= seen_at_least else KEPT_AT_LEAST
        if kept.mean() < least or kept.min() < 2 * least - 1:
            break
        chosen = coarser
    return [float(mm) for mm in chosen]


def scan_spacing(fingerprint: Fingerprint) -> list[float]:
    """Return the median voxel size of the scans along RAS+ axes."""
    return [float(mm) for mm in np.median(fingerprint.spacings_mm, axis=0)]


def configured_spacing(fingerprint: Fingerprint, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Return a configured voxel size (3,). Along thick slices that stay as they are, it is that of a typical scan."""
    spacing = np.array(spacing_mm, dtype=np.float64)
    if fingerprint.stack and _keeps_slices(fingerprint.stack, fingerprint, spacing):
        spacing[fingerprint.stack.axis] = scan_spacing(fingerprint)[fingerprint.stack.axis]
    return spacing


def check_slices(config: Config, stack: Stack) -> None:
    """Raise ConfigError if a configured voxel size or patch has its slices along another axis than the thick slices."""
    data, found = config.data, list[tuple[str, Sequence[float], int]]()
    if data.spacing_mm and max(data.spacing_mm) >= THICK * sorted(data.spacing_mm)[1]:
        found.append(("data.spacing_mm", data.spacing_mm, data.spacing_mm.index(max(data.spacing_mm))))
    if config.network.dims == 2 and data.patch and data.patch.count(1) == 1:
        found.append(("data.patch", data.patch, data.patch.index(1)))
    for name, values, axis in found:
        if axis != stack.axis:
            right = list(values)
            right[axis], right[stack.axis] = right[stack.axis], right[axis]
            raise ConfigError(
                f"{name} is {values}, with slices along {AXES[axis]}, but those of this dataset follow each other "
                f"along {AXES[stack.axis]}: expected {right}"
            )


def typical_grid(
    fingerprint: Fingerprint, extent_mm: NDArray[np.float64], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the voxels of an extent along the axes of the network (3,).

    Thick slices that stay as they are, are those of a typical scan.
    """
    grid: NDArray[np.float64] = extent_mm / spacing_mm
    if fingerprint.stack and _keeps_slices(fingerprint.stack, fingerprint, spacing_mm):
        grid[fingerprint.stack.axis] = np.median(fingerprint.grids[:, fingerprint.stack.axis])
    return grid


def _keeps_slices(stack: Stack, fingerprint: Fingerprint, spacing_mm: NDArray[np.float64]) -> bool:
    """Return whether slices of a typical scan stay as they are on a grid of this voxel size: see ``fit_grid``."""
    step = spacing_mm[stack.axis] / scan_spacing(fingerprint)[stack.axis]
    return bool(OWN_SLICES[0] < step < OWN_SLICES[1])


def typical_extent(fingerprint: Fingerprint) -> np.ndarray:
    """Return the median extent of the scans along RAS+ axes (3,), in mm, without empty margins."""
    return np.median(fingerprint.grids * fingerprint.spacings_mm, axis=0)


def describe_view(fingerprint: Fingerprint, plan: Plan) -> str:
    """Say what a patch sees of a typical scan and of the largest class, and why voxels are coarser than the scans'."""
    spacing_mm = plan.preprocessing.spacing_mm
    part = "" if plan.region_mm is None else f"the {_times(plan.region_mm)} mm that a locator finds in "
    scan_mm = _times(typical_extent(fingerprint))
    view = f"{_times(np.multiply(plan.patch, spacing_mm))} mm of {part}typical scans of {scan_mm} mm"
    if not fingerprint.shapes:
        return view
    by_class: dict[str, list[NDArray[np.float64]]] = {}
    for shape in fingerprint.shapes:
        by_class.setdefault(shape.name, []).append(shape.extent_mm)
    extents = {name: np.median(each, axis=0) for name, each in by_class.items()}
    name = max(extents, key=lambda name: float(np.prod(extents[name])))
    view += f"; the box around the largest class, {name}, has {_times(extents[name])} mm"
    finest = scan_spacing(fingerprint)
    if np.allclose(finest, spacing_mm, rtol=0.01):
        return view
    kept = kept_dice(fingerprint, spacing_mm)
    coarser = f"voxels of {_times(spacing_mm, 3)} mm instead of {_times(finest, 3)} mm"
    return f"{view}; label maps in {coarser} keep a mean Dice of {kept.mean():.3f}, lowest class {kept.min():.3f}"


def _times(numbers: Iterable[float], digits: int = 2) -> str:
    return " x ".join(f"{float(f'{number:.{digits}g}'):g}" for number in numbers)


def describe_loss(fingerprint: Fingerprint, spacing_mm: Sequence[float]) -> str:
    """Say that voxels lose more of the label maps than ``choose_spacing`` allows; "" if not."""
    kept = kept_dice(fingerprint, spacing_mm) if fingerprint.shapes else np.ones(1)
    if kept.mean() >= KEPT_AT_LEAST and kept.min() >= 2 * KEPT_AT_LEAST - 1:
        return ""
    return (
        f"small structures are lost in voxels of {_times(spacing_mm, 3)} mm: label maps keep a mean Dice of "
        f"{kept.mean():.3f}, lowest class {kept.min():.3f}: set data.spacing_mm to finer voxels; the scans have "
        f"{_times(scan_spacing(fingerprint), 3)} mm"
    )


def kept_dice(fingerprint: Fingerprint, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Return the Dice that each class keeps if it is brought to a voxel size, decided, and brought back: (K,), means.

    A network can do better, because its probabilities are not all 0 or 1.
    """
    by_class: dict[str, list[float]] = {}
    stack = fingerprint.stack and Stack.upright(fingerprint.stack.axis)  # shapes lie along the axes of the network
    for shape in fingerprint.shapes:
        i, j, k = shape.mask.shape
        grid = fit_grid(np.diag([*shape.spacing_mm, 1.0]), (i, j, k), spacing_mm, stack)
        coarse = (resample_to_grid(shape.mask[None], grid) > 0.5).float()
        back = next(resample_to_scan([coarse], grid, coarse.new_zeros(1), slice(0, j), planes=i))
        kept = back[0].numpy() > 0.5
        dice = 2 * (kept & shape.mask).sum() / (kept.sum() + shape.mask.sum())
        by_class.setdefault(shape.name, []).append(float(dice))
    return np.array([np.mean(each) for each in by_class.values()])
