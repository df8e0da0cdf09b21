"""Compute intervals of means over cases; several cases may belong to one person."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes half a second to import


def interval_of_mean(
    values: Sequence[float] | NDArray[np.float64], subjects: Sequence[str] = (), level: float = 0.95
) -> tuple[float, float]:
    """Return the 95 % interval, or that of another level, of a mean over cases by Student's t.

    Cases of one subject are not independent. The error is that of the jackknife: from how far the mean moves if a
    subject is left out (MacKinnon and White, "Some heteroskedasticity-consistent covariance matrix estimators with
    improved finite sample properties", 1985). If every subject has as many cases, this is the usual interval of the
    means of subjects.

    Values are finite. If ``subjects`` is empty, each case is a subject. Both ends are NaN if there are fewer than three
    subjects, where the interval would be too wide to be of use.
    """
    known = np.asarray(values, dtype=np.float64)
    _, group = np.unique(np.asarray(subjects or range(len(known))), return_inverse=True)
    count = group.max(initial=-1) + 1
    if count < 3:
        return math.nan, math.nan
    moved = np.bincount(group, known - known.mean()) / (len(known) - np.bincount(group))  # the mean, without a subject
    error = math.sqrt((count - 1) / count * float(moved @ moved))
    half = float(stdtrit(count - 1, (1 + level) / 2)) * error
    return float(known.mean()) - half, float(known.mean()) + half
