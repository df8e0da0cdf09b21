"""Measure sizes and spacings of the cases of a dataset, on patient axes, for planning."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attention_unet.dataset.case_facts import Extent, measure_extent
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError

FINGERPRINT_CASES = 20
T = TypeVar("T")


@dataclass(frozen=True)
class Fingerprint:
    """Measurements for planning; one row per case that was read, on RAS+ axes.

    Attributes:
        grids: voxels of the foreground box of each case (N, 3).
        spacings_mm: voxel size of each case (N, 3).
        kept: share of each volume in its foreground box (N,).
    """

    grids: np.ndarray
    spacings_mm: np.ndarray
    kept: np.ndarray


def take_fingerprint(cases: Sequence[Case]) -> Fingerprint:
    """Measure up to 20 cases, evenly spaced in the list. Unreadable ones are skipped; reading all cases reports them.

    Raises:
        DataError: if no case can be read.
    """
    extents: list[Extent] = []
    problems: list[str] = []
    for case in evenly_spaced(cases):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # reported when all cases are read
                extents.append(measure_extent(read_channels(case)))
        except DataError as error:
            problems.append(str(error))
    if not extents:
        raise DataError("\n".join(problems))
    return combine_extents(extents)


def evenly_spaced(items: Sequence[T]) -> list[T]:
    """Return up to 20 evenly spaced items."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, FINGERPRINT_CASES).round().astype(int))]


def combine_extents(extents: Sequence[Extent]) -> Fingerprint:
    """Combine the measurements of cases."""
    return Fingerprint(
        np.array([e.grid for e in extents]),
        np.array([e.spacing_mm for e in extents]),
        np.array([e.kept for e in extents]),
    )
