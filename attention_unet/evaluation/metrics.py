"""Compute the metrics of one class of one case from arrays, with distances in mm.

Empty masks: if both masks are empty, all metrics but the volumes are undefined, NaN. If one mask is empty, overlaps and
the normalised surface Dice are 0 and distances are infinite. Sensitivity, precision and volume error are undefined if
they would be divided by the size of an empty mask. Code that averages must count and report these cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from attention_unet.evaluation.surface import Mask, surface_distances
from attention_unet.scans.foreground import bounding_box

NAN, INF = float("nan"), float("inf")
ROUNDING_MM = 1e-4  # headers have single precision: on a tilted grid, a voxel of 1 mm can be 1.00000002 mm


@dataclass(frozen=True)
class CaseMetrics:
    """Metrics of a predicted mask against the reference.

    Attributes:
        dice: Dice coefficient, 0 to 1: twice the overlap over the sum of both sizes.
        hd95_mm: Hausdorff distance, 95 %: 95th percentile of the distances from one surface to the other, the larger
            of the two directions.
        assd_mm: average symmetric surface distance: mean over the surface voxels of both masks.
        nsd: normalised surface Dice, 0 to 1: share of both surfaces within the tolerance of the other.
        volume_ml: volume of the prediction.
        reference_volume_ml: volume of the reference.
        iou: 0 to 1, intersection over union.
        sensitivity: 0 to 1, share of the reference that is predicted.
        precision: 0 to 1, share of the prediction that is in the reference.
        volume_error: volume of the prediction minus that of the reference, as a share of the latter.
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


UNDEFINED = CaseMetrics(*[NAN] * len(fields(CaseMetrics)))


@dataclass(frozen=True)
class Metric:
    """How a metric is shown and compared."""

    heading: str  # of a table
    digits: int  # decimals in a table
    meaning: str  # what it measures, for readers of a table
    compared: bool = True  # whether ``compare`` accepts it
    lower_is_better: bool = False
    range: tuple[float, float] = (0.0, 1.0)  # least and greatest value that it can have
    # Value of a model that rightly predicts nothing, where another model invents the structure; None if it has none.
    perfect: float | None = None


METRICS = {  # of each field of CaseMetrics, in the same order
    "dice": Metric("Dice", 3, "twice the overlap over the sum of both masks; 1 is best", perfect=1.0),
    "hd95_mm": Metric(
        "HD95 mm",
        2,
        "95th percentile of the distances between the surfaces, the larger of both directions; 0 is best",
        lower_is_better=True,
        range=(0.0, INF),
        perfect=0.0,
    ),
    "assd_mm": Metric(
        "ASSD mm",
        2,
        "mean distance between the surfaces; 0 is best",
        lower_is_better=True,
        range=(0.0, INF),
        perfect=0.0,
    ),
    "nsd": Metric(
        "NSD",
        3,
        "normalised surface Dice: share of both surfaces within the tolerance of the other; 1 is best",
        perfect=1.0,
    ),
    "volume_ml": Metric("Volume ml", 2, "volume of the prediction", compared=False, range=(0.0, INF)),
    "reference_volume_ml": Metric("Reference ml", 2, "volume of the reference", compared=False, range=(0.0, INF)),
    "iou": Metric("IoU", 3, "overlap over union; 1 is best", perfect=1.0),
    "sensitivity": Metric("Sensitivity", 3, "share of the reference that is predicted; 1 is best"),
    "precision": Metric("Precision", 3, "share of the prediction that is correct; 1 is best"),
    "volume_error": Metric(
        "Volume error, share",
        3,
        "predicted minus true volume, as a share of the true volume; 0 is best",
        compared=False,
        range=(-1.0, INF),
    ),
}


def compare_masks(
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    spacing_mm: Sequence[float],
    tolerance_mm: float = 1.0,
    known: NDArray[np.bool_] | None = None,
) -> CaseMetrics:
    """Compare two masks (I, J, K) on the same grid.

    Args:
        prediction: predicted mask, bool or numbers that are all 0 or 1.
        reference: true mask, bool or numbers that are all 0 or 1.
        spacing_mm: size of a voxel along each axis, above 0.
        tolerance_mm: tolerance of the normalised surface Dice, 0 or more.
        known: voxels that are annotated, None for all. Others count as background, and masks have no surface beside
            them. Distances are NaN if both masks then have voxels, and one has no surface.

    Raises:
        TypeError: if a mask is not a numpy array, or is a masked array.
        ValueError: if a mask has other values or other axes, the grids differ, or an argument is out of its range.

    Example:
        >>> reference = np.zeros((8, 8, 8), dtype=bool)
        >>> reference[2:6, 2:6, 2:6] = True
        >>> compare_masks(np.roll(reference, 1, axis=0), reference, spacing_mm=(1.5, 1, 1)).hd95_mm
        1.5
    """
    prediction, reference = _as_mask(prediction, "prediction"), _as_mask(reference, "reference")
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction has the grid {prediction.shape}, reference {reference.shape}: expected one grid")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing_mm is {spacing_mm}: expected three numbers above 0, one per axis")
    if not 0 <= tolerance_mm < INF:
        raise ValueError(f"tolerance_mm is {tolerance_mm}: expected 0 or more")
    if known is not None:
        prediction, reference = prediction & known, reference & known
    box = bounding_box(prediction | reference, margin=1)  # a structure in one slice is no volume of one slice
    prediction, reference, known = prediction[box], reference[box], None if known is None else known[box]
    size, true_size, overlap = (int(np.count_nonzero(m)) for m in (prediction, reference, prediction & reference))
    distances = surface_distances(prediction, reference, spacing, known)
    if (size == 0) != (true_size == 0):
        hd95_mm, assd_mm, nsd = INF, INF, 0.0
    elif all(map(len, distances)):
        hd95_mm, assd_mm, nsd = _measure_distances(*distances, tolerance_mm)
    else:
        hd95_mm = assd_mm = nsd = NAN
    voxel_ml = float(spacing.prod()) / 1000
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


def _as_mask(array: NDArray[np.generic], name: str) -> Mask:
    """Return a mask as bool."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is of type {type(array).__name__}: expected a numpy array of bool, or of 0 and 1")
    if array.ndim != 3:
        raise ValueError(f"{name} has {array.ndim} axes {array.shape}: expected three, (I, J, K)")
    if array.dtype == np.bool_:
        return array.view(np.bool_)
    mask: Mask = array == 1
    if not (mask | (array == 0)).all():
        raise ValueError(f"{name} has other values than 0 and 1: expected one class, such as label_map == 2")
    return mask


def dice(prediction: Mask, reference: Mask) -> float:
    """Return the Dice coefficient of two masks; NaN if both are empty."""
    return _share(
        2 * np.count_nonzero(prediction & reference), np.count_nonzero(prediction) + np.count_nonzero(reference)
    )


def _measure_distances(
    to_reference: NDArray[np.float64], to_prediction: NDArray[np.float64], tolerance_mm: float
) -> tuple[float, float, float]:
    """Return HD95, mean distance and normalised surface Dice."""
    both = np.concatenate([to_reference, to_prediction])
    hd95_mm = max(float(np.percentile(distances, 95)) for distances in (to_reference, to_prediction))
    return hd95_mm, float(both.mean()), float((both <= tolerance_mm + ROUNDING_MM).mean())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else NAN
