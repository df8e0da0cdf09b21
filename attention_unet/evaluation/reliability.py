"""Reliability of predicted probabilities, and its expected calibration error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Reliability:
    """Voxels by the probability of a class, in bins of equal width from 0 to 1.

    Attributes:
        voxels: number of voxels in each bin.
        probability: mean probability in each bin, NaN if the bin is empty.
        share: share of the voxels of each bin that belong to the class, NaN if the bin is empty.
    """

    voxels: NDArray[np.float64]
    probability: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: mean over voxels of |probability - share|; NaN if there are no voxels."""
        return self._error_from(0)

    @property
    def error_where_likely(self) -> float:
        """The same error without the lowest bin: certain background would make any error small."""
        return self._error_from(1)

    def _error_from(self, first: int) -> float:
        voxels, difference = self.voxels[first:], np.nan_to_num(np.abs(self.probability - self.share))[first:]
        return float((voxels * difference).sum() / voxels.sum()) if voxels.sum() else float("nan")
