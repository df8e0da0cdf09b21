"""Measure sizes, spacings and classes of the cases of a dataset, on patient axes, for planning."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from attention_unet.dataset.case_facts import Extent, measure_extent, sizes_of, stack_of
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError
from attention_unet.preparation.plan import Plan
from attention_unet.scans.foreground import bounding_box
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.orientation import Stack
from attention_unet.scans.volumes import read_labels

FINGERPRINT_CASES, SHAPE_CASES = 20, 5
MARGIN = 4  # voxels around a shape
T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """A class in one case."""

    name: str  # name of the class
    mask: NDArray[np.bool_]  # (*S) along RAS+ axes, True inside, cut to the class with a margin
    spacing_mm: tuple[float, float, float]  # voxel size

    @property
    def extent_mm(self) -> NDArray[np.float64]:
        """Extent of the class along RAS+ axes (3,)."""
        return (np.ptp(np.argwhere(self.mask), axis=0) + 1) * np.array(self.spacing_mm)


@dataclass(frozen=True)
class Fingerprint:
    """Measurements for planning; one row per case that was read, on RAS+ axes."""

    grids: np.ndarray  # voxels of the foreground box of each case (N, 3)
    spacings_mm: np.ndarray  # voxel size of each case (N, 3)
    kept: np.ndarray  # share of each volume in its foreground box; 1 if no channel is 0 around it (N,)
    shapes: Sequence[Shape] = ()  # every class of a few cases
    structures_mm: Sequence[NDArray[np.float64]] = ()  # extent of all classes together in these cases (M, 3)
    stack: Stack | None = None  # how thick slices lie, however oblique; None if most cases have none


def take_fingerprint(cases: Sequence[Case], labels: Labels, start: Plan | None = None) -> Fingerprint:
    """Measure up to 20 cases, evenly spaced in the list. Unreadable ones are skipped; reading all cases reports them.

    For a model to start from, their axes are those of its scans. Raise DataError if no case can be read.
    """
    extents: list[Extent] = []
    problems: list[str] = []
    for case in evenly_spaced(cases, FINGERPRINT_CASES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # reported when all cases are read
                extents.append(measure_extent(read_channels(case)))
        except DataError as error:
            problems.append(str(error))
    if not extents:
        raise DataError("\n".join(problems))
    return combine_measurements(extents, cases, labels, start)


def combine_measurements(
    extents: Sequence[Extent], cases: Sequence[Case], labels: Labels, start: Plan | None = None
) -> Fingerprint:
    """Combine the measurements of up to 20 cases, evenly spaced in the list, with the classes of up to 5."""
    chosen = evenly_spaced(extents, FINGERPRINT_CASES)
    stack = start.preprocessing.stack if start else stack_of(chosen)
    grids, spacings_mm = sizes_of(chosen, stack)
    shapes, structures_mm = take_shapes(cases, labels, stack)
    return Fingerprint(grids, spacings_mm, np.array([e.kept for e in chosen]), shapes, structures_mm, stack)


def take_shapes(
    cases: Sequence[Case], labels: Labels, stack: Stack | None
) -> tuple[list[Shape], list[NDArray[np.float64]]]:
    """Read the classes of up to 5 cases, evenly spaced in the list. Unreadable ones are skipped.

    Return every class of each case, and the extent of all classes together in each case with any, along RAS+ axes.
    """
    shapes: list[Shape] = []
    extents: list[NDArray[np.float64]] = []
    for case in evenly_spaced(cases, SHAPE_CASES):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # reported when all cases are read
                label = read_labels(case.label) if case.label else None
        except DataError:
            continue
        if label is not None:
            grid = fit_grid(label.affine, label.grid, (1.0, 1.0, 1.0), stack)
            array = grid.orient(label.array)[0]
            everything = tuple(i for group in labels.integers.values() for i in group)
            found: list[Shape] = []  # of everything, then of each class
            for name, group in [("", everything), *labels.integers.items()]:
                mask = mask_of(array, group)
                if mask.any():
                    found.append(Shape(name, np.ascontiguousarray(mask[bounding_box(mask, MARGIN)]), grid.scan_mm))
            if found:
                whole, *own = found
                extents.append(whole.extent_mm)
                shapes += own
    return shapes, extents


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """Return up to ``most`` evenly spaced items."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]
