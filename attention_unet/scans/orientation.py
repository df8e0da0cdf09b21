"""Decide which array axis of a scan lies along which axis of the network: thick slices stay together, however oblique.

Scans are turned by exchanging and reversing axes only, never by rotation. Each axis takes the direction nearest to it,
of RAS+ (right, front, top). Short-axis stacks of the heart are tilted by about 45 degrees, so that the slices of some
would lie back to front and those of others down to up, and that columns of some would be rows of others. A dataset of
thick slices therefore has one axis for them, and every scan lies as a typical one does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

THICK = 2.0  # a scan has thick slices if its voxels are this many times as long along one axis as along the others
LEAST_COSINE = 0.25  # slices up to 75 degrees from those of a typical scan are stacked as they are; others stand alone
DECIMALS = 6  # of directions

Axes = tuple[tuple[int, int, int], tuple[bool, bool, bool]]
Direction = tuple[float, float, float]


@dataclass(frozen=True)
class Stack:
    """How the thick slices of a dataset lie.

    Attributes:
        axis: axis of the network along which slices follow each other.
        directions: direction of each axis of the network in a typical scan, as unit vectors in RAS+.
    """

    axis: int
    directions: tuple[Direction, Direction, Direction]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any] | None) -> "Stack | None":
        """Make a stack from the values of ``dataclasses.asdict``.

        Raises:
            ValueError: if the values are none of a stack.
        """
        if plain is None:
            return None
        axis, directions = plain["axis"], np.array(plain["directions"], dtype=float)
        if axis not in (0, 1, 2) or directions.shape != (3, 3) or not np.isfinite(directions).all():
            raise ValueError(f"{plain}: expected an axis, 0 to 2, and three directions")
        return cls(int(axis), _as_tuples(directions))


def nearest_axes(affine: NDArray[np.float64], stack: Stack | None = None) -> Axes:
    """Return the array axis that lies along each axis of the network, and whether it runs against it.

    Args:
        affine: 4 x 4, from voxel (i, j, k) of the scan to RAS+ mm.
        stack: how the thick slices of the dataset lie; None if it has none: axes are the nearest to RAS+.
    """
    thick, units = _thick_axis(affine), _unit_vectors(affine)
    cosines = np.array(np.eye(3) if stack is None else stack.directions) @ units
    if stack is None or thick is None or abs(cosines[stack.axis, thick]) < LEAST_COSINE:
        orientation = nib.io_orientation(affine)
        i, j, k = (int(axis) for axis in orientation[:, 0].argsort())
        against = [bool(orientation[axis, 1] < 0) for axis in (i, j, k)]
        return (i, j, k), (against[0], against[1], against[2])
    first, second = (axis for axis in range(3) if axis != stack.axis)
    one, other = (axis for axis in range(3) if axis != thick)
    if abs(cosines[first, one]) + abs(cosines[second, other]) < abs(cosines[first, other]) + abs(cosines[second, one]):
        one, other = other, one
    along = {stack.axis: thick, first: one, second: other}
    i, j, k = along[0], along[1], along[2]
    cosine = np.array([cosines[axis, along[axis]] for axis in range(3)])
    signs = np.where(cosine < 0, -1.0, 1.0)
    if np.linalg.det(units[:, [i, j, k]] * signs) < 0:  # a mirror image: the least certain sign is wrong
        signs[np.abs(cosine).argmin()] *= -1
    return (i, j, k), (bool(signs[0] < 0), bool(signs[1] < 0), bool(signs[2] < 0))


def find_stack(affines: Sequence[NDArray[np.float64]]) -> Stack | None:
    """Return how the thick slices of a dataset lie: along the RAS+ axis nearest to most of them.

    The typical scan is the one whose axes agree best with those of the others. None if most scans have no thick slices.
    """
    thick = [(affine, axis) for affine in affines if (axis := _thick_axis(affine)) is not None]
    if 2 * len(thick) <= len(affines):
        return None
    slices = int(np.mean([np.abs(_unit_vectors(affine)[:, axis]) for affine, axis in thick], axis=0).argmax())
    patient = Stack(slices, _as_tuples(np.eye(3)))
    typical, most = patient, -np.inf
    for affine, _ in thick:
        candidate = Stack(slices, _as_tuples(_directions(affine, patient)))
        agreement = sum(float((_directions(other, candidate) * candidate.directions).sum()) for other, _ in thick)
        if agreement > most + 1e-6:
            typical, most = candidate, agreement
    return typical


def _directions(affine: NDArray[np.float64], stack: Stack) -> NDArray[np.float64]:
    """Return the direction of each axis of the network in a scan, as rows in RAS+."""
    order, against = nearest_axes(affine, stack)
    directions: NDArray[np.float64] = (_unit_vectors(affine)[:, list(order)] * np.where(against, -1.0, 1.0)).T
    return directions


def _as_tuples(directions: NDArray[np.float64]) -> tuple[Direction, Direction, Direction]:
    first, second, third = (tuple(round(float(part), DECIMALS) for part in row) for row in directions)
    return first, second, third  # type: ignore[return-value]  # three numbers each


def _unit_vectors(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction of each array axis (column) in RAS+."""
    units: NDArray[np.float64] = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return units


def _thick_axis(affine: NDArray[np.float64]) -> int | None:
    """Return the array axis along which the slices of a scan are thick; None if they are not."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    longest = int(sizes.argmax())
    return longest if sizes[longest] >= THICK * np.delete(sizes, longest).max() else None
