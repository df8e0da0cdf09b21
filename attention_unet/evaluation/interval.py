"""Compute intervals of means over cases; several cases may belong to one person."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes half a second to import


def interval_of_mean(
    values: Sequence[float] | NDArray[np.float64], subjects: Sequence[str] = ()
) -> tuple[float, float]:
    """Return the 95 % interval of a mean over cases by Student's t.

    Cases of one subject are not independent. Their deviations are summed before they are squared, and the subjects
    give the degrees of freedom (Liang and Zeger, "Longitudinal data analysis using generalized linear models", 1986).
    If every case is a subject, this is the usual interval.

    Args:
        values: value of each case; finite.
        subjects: subject of each case; if empty, each case is a subject.

    Returns:
        Lower and upper end; NaN if there are fewer than three subjects, where it would be too wide to be of use.
    """
    known = np.asarray(values, dtype=np.float64)
    _, group = np.unique(np.asarray(subjects or range(len(known))), return_inverse=True)
    count = group.max(initial=-1) + 1
    if count < 3:
        return math.nan, math.nan
    sums = np.bincount(group, known - known.mean())
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / len(known)
    half = float(stdtrit(count - 1, 0.975)) * error
    return float(known.mean()) - half, float(known.mean()) + half
