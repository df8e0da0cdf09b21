"""Decide which array axis of a scan lies along which RAS+ axis: thick slices stay together, however oblique they are.

Scans are turned by exchanging and reversing axes only, never by rotation. Each axis takes the direction nearest to it.
Short-axis stacks of the heart are tilted by about 45 degrees, so that the slices of some would lie back to front and
those of others down to up. A network would then see thick voxels along different axes. Therefore a dataset of thick
slices has one axis for them.
"""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

THICK = 2.0  # a scan has thick slices if its voxels are this many times as long along one axis as along the others
LEAST_COSINE = (
    0.25  # slices up to 75 degrees from their axis still belong to it; others were taken in another direction
)

Axes = tuple[tuple[int, int, int], tuple[bool, bool, bool]]


def nearest_axes(affine: NDArray[np.float64], slices: int | None = None) -> Axes:
    """Return the array axis that lies along each RAS+ axis, and whether it runs against it.

    Args:
        affine: 4 x 4, from voxel (i, j, k) of the scan to RAS+ mm.
        slices: RAS+ axis along which the thick slices of the dataset are stacked; None if it has none.
    """
    thick = _thick_axis(affine)
    cosines = _cosines(affine)
    if slices is None or thick is None or abs(cosines[slices, thick]) < LEAST_COSINE:
        orientation = nib.io_orientation(affine)
        i, j, k = (int(axis) for axis in orientation[:, 0].argsort())
        against = [bool(orientation[axis, 1] < 0) for axis in (i, j, k)]
        return (i, j, k), (against[0], against[1], against[2])
    first, second = (axis for axis in range(3) if axis != slices)
    one, other = (axis for axis in range(3) if axis != thick)
    if abs(cosines[first, one]) + abs(cosines[second, other]) < abs(cosines[first, other]) + abs(cosines[second, one]):
        one, other = other, one
    along = {slices: thick, first: one, second: other}
    i, j, k = along[0], along[1], along[2]
    return (i, j, k), (bool(cosines[0, i] < 0), bool(cosines[1, j] < 0), bool(cosines[2, k] < 0))


def find_slice_axis(affines: Sequence[NDArray[np.float64]]) -> int | None:
    """Return the RAS+ axis along which the thick slices of a dataset are stacked; None if most scans have none."""
    thick = [(affine, axis) for affine in affines if (axis := _thick_axis(affine)) is not None]
    if 2 * len(thick) <= len(affines):
        return None
    return int(np.mean([np.abs(_cosines(affine)[:, axis]) for affine, axis in thick], axis=0).argmax())


def _cosines(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each RAS+ axis (row) with each array axis (column)."""
    cosines: NDArray[np.float64] = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return cosines


def _thick_axis(affine: NDArray[np.float64]) -> int | None:
    """Return the array axis along which the slices of a scan are thick; None if they are not."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    longest = int(sizes.argmax())
    return longest if sizes[longest] >= THICK * np.delete(sizes, longest).max() else None
