"""Metrics of one class of one case: pure arrays, distances in mm.

Empty masks: where both masks are empty, nothing but the volumes is defined, and NaN. Where one is empty, overlaps and
the normalised surface Dice are 0 and distances are infinite; of sensitivity, precision and volume error, what would be
divided by the size of the empty mask is not defined. Whoever averages must count these and say so.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from attention_unet.evaluation.surface import Mask, surface_distances
from attention_unet.geometry import box_of

NAN, INF = float("nan"), float("inf")
ROUNDING_MM = 1e-4  # a voxel of 1 mm of a tilted grid is 1.00000002 mm: headers keep single precision


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
        iou: 0 to 1, intersection over union.
        sensitivity: 0 to 1, share of the reference that is predicted.
        precision: 0 to 1, share of the prediction that is right.
        volume_error: volume of the prediction less that of the reference, as a share of the latter.
    """

    dice: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    volume_ml: float
    reference_volume_ml: float
    iou: float
    sensitivity: float
    precision: float
    volume_error: float


METRICS = tuple(field.name for field in fields(CaseMetrics))
LOWER_IS_BETTER = ("hd95_mm", "assd_mm")


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
    box = box_of(prediction | reference)
    prediction, reference = prediction[box], reference[box]
    size, true_size, overlap = (int(np.count_nonzero(m)) for m in (prediction, reference, prediction & reference))
    hd95_mm, assd_mm, nsd = _of_distances(*surface_distances(prediction, reference, spacing_mm), tolerance_mm)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return CaseMetrics(
        dice=_share(2 * overlap, size + true_size),
        hd95_mm=hd95_mm,
        assd_mm=assd_mm,
        nsd=nsd,
        volume_ml=size * voxel_ml,
        reference_volume_ml=true_size * voxel_ml,
        iou=_share(overlap, size + true_size - overlap),
        sensitivity=_share(overlap, true_size),
        precision=_share(overlap, size),
        volume_error=_share(size - true_size, true_size),
    )


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice coefficient of two masks; NaN if both are empty."""
    return _share(
        2 * np.count_nonzero(prediction & reference), np.count_nonzero(prediction) + np.count_nonzero(reference)
    )


def _of_distances(
    to_reference: NDArray[np.float64], to_prediction: NDArray[np.float64], tolerance_mm: float
) -> tuple[float, float, float]:
    """HD95, mean distance and normalised surface Dice."""
    both = np.concatenate([to_reference, to_prediction])
    if len(both) == 0:
        return NAN, NAN, NAN
    if len(to_reference) == 0 or len(to_prediction) == 0:
        return INF, INF, 0.0
    hd95_mm = max(float(np.percentile(distances, 95)) for distances in (to_reference, to_prediction))
    return hd95_mm, float(both.mean()), float((both <= tolerance_mm + ROUNDING_MM).mean())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else NAN
