"""Cohorts and a machine to plan for."""

import numpy as np

from attention_unet.dataset.cases import Dataset
from attention_unet.machine.devices import Machine
from attention_unet.preparation.fingerprint import Fingerprint
from attention_unet.scans.labels import Labels

LAPTOP = Machine("cpu", 8 * 2**30, 2, True, 1)


def cohort_of(grid, spacing, kept=1.0):
    return Fingerprint(np.array([grid] * 5), np.array([spacing] * 5, dtype=float), np.full(5, kept))


def dataset(channels=1):
    return Dataset(None, (), tuple(f"c{i}" for i in range(channels)), Labels({"a": (1,), "b": (2,)}, (1, 2)))
