"""Overlap and surface metrics of one class of one case: pure arrays, distances in mm.

A surface is made of the voxels of a mask that touch its outside by a face; beyond the array is outside. Distances run
between centres of surface voxels.

Empty masks: where both masks are empty, nothing is defined and every metric but the volumes is NaN. Where one is empty,
Dice and normalised surface Dice are 0 and distances are infinite. Whoever averages must count these and say so.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CaseMetrics:
    """How a predicted mask compares with the reference.

    Attributes:
        dice: 0 to 1, twice the overlap over the sum of both.
        hd95_mm: 95th percentile of the distances from each surface to the other, the larger of the two directions.
        assd_mm: mean distance of all surface voxels of both masks to the other surface.
        nsd: normalised surface Dice, 0 to 1: share of both surfaces within the tolerance of the other.
        volume_ml: of the prediction.
        reference_volume_ml: of the reference.
    """

    dice: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    volume_ml: float
    reference_volume_ml: float


METRICS = ("dice", "hd95_mm", "assd_mm", "nsd", "volume_ml", "reference_volume_ml")


def compare_masks(
    prediction: Mask, reference: Mask, spacing_mm: tuple[float, float, float], tolerance_mm: float = 1.0
) -> CaseMetrics:
    """Compare two masks (I, J, K) of the same grid.

    Args:
        prediction: predicted mask.
        reference: true mask.
        spacing_mm: size of a voxel along each axis.
        tolerance_mm: for the normalised surface Dice.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    volumes = (float(prediction.sum()) * voxel_ml, float(reference.sum()) * voxel_ml)
    to_reference, to_prediction = surface_distances(prediction, reference, spacing_mm)
    if len(to_reference) == 0 and len(to_prediction) == 0:
        nan = float("nan")
        return CaseMetrics(nan, nan, nan, nan, *volumes)
    if len(to_reference) == 0 or len(to_prediction) == 0:
        return CaseMetrics(0.0, float("inf"), float("inf"), 0.0, *volumes)
    both = np.concatenate([to_reference, to_prediction])
    return CaseMetrics(
        dice=dice(prediction, reference),
        hd95_mm=float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))),
        assd_mm=float(both.mean()),
        nsd=float((both <= tolerance_mm).mean()),
        volume_ml=volumes[0],
        reference_volume_ml=volumes[1],
    )


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice coefficient of two masks; NaN if both are empty."""
    size = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / size if size else float("nan")


def surface_distances(
    prediction: Mask, reference: Mask, spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in mm from each surface voxel of the prediction to the reference's surface, and the other way round.

    Both are empty arrays if both masks are empty; if one is empty, so is its array, and the other holds infinities.
    """
    boxes = ndimage.find_objects((prediction | reference).astype(np.uint8))
    if not boxes:
        return np.empty(0), np.empty(0)
    box = boxes[0]
    ours, theirs = _surface(prediction[box]), _surface(reference[box])
    return _distances(ours, theirs, spacing_mm), _distances(theirs, ours, spacing_mm)


def _surface(mask: Mask) -> Mask:
    surface: Mask = mask & ~ndimage.binary_erosion(mask)
    return surface


def _distances(start: Mask, end: Mask, spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    if not end.any():
        return np.full(int(start.sum()), np.inf)
    distance = ndimage.distance_transform_edt(~end, sampling=spacing_mm)
    return np.asarray(distance[start], dtype=np.float64)
