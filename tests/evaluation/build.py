"""Build metrics and comparisons for tests."""

from math import isnan, nan

import numpy as np

from attention_unet.evaluation.compare import compare as compare_models
from attention_unet.evaluation.metrics import METRICS, CaseMetrics
from attention_unet.evaluation.rows import Row
from tests.conftest import oblique_affine, save_nifti

AFFINE = oblique_affine()


def metrics(**given):
    """Return the metrics of a case that annotates the class; metrics that are not given are NaN."""
    return CaseMetrics(**{**dict.fromkeys(METRICS, nan), "reference_volume_ml": 1.0, **given})


def rows(values, metric="dice", class_name="a"):
    """Return the rows of cases; where the value is NaN, the reference is empty."""
    volumes = [0.0 if isnan(value) else 1.0 for value in values]
    of_cases = [metrics(**{metric: value}, reference_volume_ml=ml) for value, ml in zip(values, volumes, strict=True)]
    return [Row(f"case{i:02d}", class_name, each) for i, each in enumerate(of_cases)]


def compare(models, metric):
    """Compare one run of each model."""
    return compare_models({name: [rows] for name, rows in models.items()}, metric)


def levels(seed=0, n=42):
    """Return Dice that varies far more over cases than over models."""
    return np.random.RandomState(seed).normal(0.85, 0.05, n)


def noise(n=42):
    return np.random.RandomState(1).normal(0, 0.002, n)


def label_map(seed=0):
    array = np.zeros((10, 10, 10), dtype=np.uint8)
    array[2:6, 2:6, 2:6], array[6:8, 2:8, 2:8], array[8, 5, 5] = 1, 2, 3
    return np.roll(array, seed, axis=0)


def same_masks(folder, output="out", names="pr"):
    """Write one label map into folders, as prediction, reference or image, and return the call that evaluates it."""
    for name in names:
        save_nifti(folder / name / "x.nii.gz", label_map(), AFFINE)
    return ["evaluate", "-p", str(folder / "p"), "-r", str(folder / "r"), "-o", str(folder / output)]
