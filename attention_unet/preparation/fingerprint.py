"""What a plan follows from: sizes and spacings of the cases of a dataset, on patient axes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attention_unet.dataset.case_facts import Extent, extent_of
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError

FINGERPRINT_CASES = 20
T = TypeVar("T")


@dataclass(frozen=True)
class Fingerprint:
    """What a plan follows from; every array is over the cases read, on RAS+ axes.

    Attributes:
        grids: voxels of the foreground box of each case (N, 3).
        spacings_mm: voxel size of each case (N, 3).
        kept: share of each volume that its foreground box is (N,).
    """

    grids: np.ndarray
    spacings_mm: np.ndarray
    kept: np.ndarray


def take_fingerprint(cases: Sequence[Case]) -> Fingerprint:
    """Read up to 20 cases, evenly spread over the list; those that cannot be read are told when all are.

    Raises:
        DataError: if none of them can.
    """
    extents: list[Extent] = []
    problems: list[str] = []
    for case in evenly_spaced(cases):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # told when all cases are read
                extents.append(extent_of(read_channels(case)))
        except DataError as error:
            problems.append(str(error))
    if not extents:
        raise DataError("\n".join(problems))
    return fingerprint_of(extents)


def evenly_spaced(of: Sequence[T]) -> list[T]:
    """Up to 20 things, evenly spread over all."""
    return [of[i] for i in np.unique(np.linspace(0, len(of) - 1, FINGERPRINT_CASES).round().astype(int))]


def fingerprint_of(extents: Sequence[Extent]) -> Fingerprint:
    """Put cases together."""
    return Fingerprint(
        np.array([e.grid for e in extents]),
        np.array([e.spacing_mm for e in extents]),
        np.array([e.kept for e in extents]),
    )
