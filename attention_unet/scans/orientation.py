"""Decide which array axis of a scan lies along which axis of the network: thick slices stay together, however oblique.

Scans are turned by exchanging and reversing axes only, never by rotation. Each axis takes the direction nearest to it,
of RAS+ (right, front, top). Short-axis stacks of the heart are tilted by about 45 degrees, so that the slices of some
would lie back to front and those of others down to up, and that columns of some would be rows of others. A dataset of
thick slices therefore has one axis for them, and every scan lies as a typical one does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

# A scan has thick slices if its voxels are twice as long along one axis as along the others; headers are not exact.
THICK = 1.998
# Slices up to 74 degrees from those of a typical scan are stacked as they are; others keep their nearest axes. Above
# 2 - sqrt(3), the axes found for three orthogonal directions are never a mirror image of them.
LEAST_COSINE = 0.27
COMPARED = 20  # scans, at most, among which the typical one is found
TURNED = 60.0  # degrees; more is unusual: hearts of the same view differ by less than 53
DECIMALS = 6  # of directions

Direction = tuple[float, float, float]


class Axes(NamedTuple):
    """How the axes of a scan lie."""

    order: tuple[int, int, int]  # array axis that lies along each axis of the network
    flipped: tuple[bool, bool, bool]  # whether it runs against it
    stacked: bool  # whether the scan has thick slices that lie as those of the dataset


@dataclass(frozen=True)
class Stack:
    """How the thick slices of a dataset lie."""

    axis: int  # axis of the network along which slices follow each other
    directions: tuple[Direction, Direction, Direction]  # unit vectors in RAS+ of the network's axes in a typical scan

    @classmethod
    def upright(cls, axis: int) -> "Stack":
        """Return a stack along a RAS+ axis, with the axes of the network along those of RAS+."""
        return cls(axis, _as_tuples(np.eye(3)))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any] | None) -> "Stack | None":
        """Make a stack from the values of ``dataclasses.asdict``. Raise ValueError if they do not describe one."""
        if plain is None:
            return None
        axis, directions = plain["axis"], np.array(plain["directions"], dtype=float)
        if axis not in (0, 1, 2) or directions.shape != (3, 3) or not np.isfinite(directions).all():
            raise ValueError(f"{plain}: expected an axis, 0 to 2, and three directions")
        return cls(int(axis), _as_tuples(directions))


def nearest_axes(affine: NDArray[np.float64], stack: Stack | None = None) -> Axes:
    """Return how the axes of a scan lie along those of the network. Without a stack they are the nearest to RAS+."""
    thick, units = _thick_axis(affine), unit_vectors(affine)
    cosines = np.array(np.eye(3) if stack is None else stack.directions) @ units
    if stack is None or thick is None or abs(cosines[stack.axis, thick]) < LEAST_COSINE:
        orientation = nib.io_orientation(affine)
        i, j, k = (int(axis) for axis in orientation[:, 0].argsort())
        against = [bool(orientation[axis, 1] < 0) for axis in (i, j, k)]
        return Axes((i, j, k), (against[0], against[1], against[2]), False)
    first, second = (axis for axis in range(3) if axis != stack.axis)
    one, other = (axis for axis in range(3) if axis != thick)
    if abs(cosines[first, one]) + abs(cosines[second, other]) < abs(cosines[first, other]) + abs(cosines[second, one]):
        one, other = other, one
    along = {stack.axis: thick, first: one, second: other}
    i, j, k = along[0], along[1], along[2]
    cosine = np.array([cosines[axis, along[axis]] for axis in range(3)])
    return Axes((i, j, k), (bool(cosine[0] < 0), bool(cosine[1] < 0), bool(cosine[2] < 0)), True)


def find_stack(affines: Sequence[NDArray[np.float64]]) -> Stack | None:
    """Return how the thick slices of a dataset lie: along the RAS+ axis nearest to most of them.

    Up to 20 scans are compared, evenly spaced in the list. The typical one is that whose axes agree best with those of
    the others. None if most scans have no thick slices.
    """
    if not affines:
        return None
    compared = np.unique(np.linspace(0, len(affines) - 1, COMPARED).round().astype(int))  # the same as for a plan
    affines = [affines[i] for i in compared]
    thick = [(affine, axis) for affine in affines if (axis := _thick_axis(affine)) is not None]
    if 2 * len(thick) <= len(affines):
        return None
    slices = int(np.mean([np.abs(unit_vectors(affine)[:, axis]) for affine, axis in thick], axis=0).argmax())
    patient = Stack.upright(slices)
    typical, most = patient, -np.inf
    some = [affine for affine, _ in thick]
    for affine in some:
        candidate = Stack(slices, _as_tuples(_directions(affine, patient)))
        agreement = sum(float((_directions(other, candidate) * candidate.directions).sum()) for other in some)
        if agreement > most + 1e-6:
            typical, most = candidate, agreement
    return typical


def turned_degrees(affine: NDArray[np.float64], stack: Stack) -> float:
    """Return the largest angle between an axis of the network in a scan and in a typical scan of the dataset."""
    cosines = (_directions(affine, stack) * np.array(stack.directions)).sum(axis=1)
    return float(np.degrees(np.arccos(cosines.min().clip(-1.0, 1.0))))


def describe_turn(affine: NDArray[np.float64], stack: Stack) -> str:
    """Say that the axes of a scan are turned by more than ``TURNED`` degrees against a typical one; "" if not."""
    if (turned := turned_degrees(affine, stack)) <= TURNED:
        return ""
    return (
        f"its axes are turned by up to {turned:.0f} degrees against those of a typical scan, so that rows may lie "
        "where others have columns: expect a worse mask; is the orientation in its header true?"
    )


def _directions(affine: NDArray[np.float64], stack: Stack) -> NDArray[np.float64]:
    """Return the direction of each axis of the network in a scan, as rows in RAS+."""
    axes = nearest_axes(affine, stack)
    return (unit_vectors(affine)[:, axes.order] * np.where(axes.flipped, -1.0, 1.0)).T


def _as_tuples(directions: NDArray[np.float64]) -> tuple[Direction, Direction, Direction]:
    """Return three rows of numbers as tuples, rounded."""
    first, second, third = (tuple(round(float(part), DECIMALS) for part in row) for row in directions)
    return first, second, third  # type: ignore[return-value]  # three numbers each


def unit_vectors(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction of each array axis (column) in RAS+."""
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)


def _thick_axis(affine: NDArray[np.float64]) -> int | None:
    """Return the array axis along which the slices of a scan are thick; None if they are not."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    longest = int(sizes.argmax())
    return longest if sizes[longest] >= THICK * np.delete(sizes, longest).max() else None
