"""A known defect in a mask, and every metric computed by hand.

The block has 4 x 5 x 3 = 60 voxels of 0.9 x 1.3 x 2.5 mm. All but the inner 2 x 3 x 1 are surface voxels: 54.
"""

import math

import numpy as np
import pytest

from attention_unet.dataset.cases import Case
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import read_metrics
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import volumes_by_case
from tests.conftest import oblique_affine, save_nifti

LABELS = Labels({"block": (1,), "bar": (2,)}, (1, 2))
AFFINE = oblique_affine((0.9, 1.3, 2.5))
BLOCK_ML = 60 * 0.9 * 1.3 * 2.5 / 1000


def scan():
    label_map = np.zeros((12, 14, 10), dtype=np.uint8)
    label_map[3:7, 4:9, 3:6] = 1
    label_map[9:11, 10:12, 7:9] = 2
    return label_map


def evaluated(tmp_path, predicted):
    """Return the metrics of a prediction by class, from file to table, with a tolerance of 1 mm."""
    save_nifti(tmp_path / "p" / "x.nii.gz", predicted, AFFINE)
    reference = save_nifti(tmp_path / "r" / "x.nii.gz", scan(), AFFINE)
    cases = [Case("x", (), reference)]
    evaluate_cases(cases, volumes_by_case(tmp_path / "p"), tmp_path, LABELS, tolerance_mm=1.0)
    return {row.class_name: row.metrics for row in read_metrics(tmp_path / "metrics.csv")}


def check(found, **expected):
    assert set(expected) == set(METRICS)
    for metric, value in expected.items():
        assert getattr(found, metric) == pytest.approx(value, rel=1e-5, nan_ok=True), metric


def test_nothing_is_wrong(tmp_path):
    for found in evaluated(tmp_path, scan()).values():
        assert (found.dice, found.iou, found.sensitivity, found.precision, found.nsd) == (1, 1, 1, 1, 1)
        assert (found.hd95_mm, found.assd_mm, found.volume_error) == (0, 0, 0)


@pytest.mark.parametrize(
    ("axis", "voxels", "overlap", "hd95_mm", "distances_mm", "near"),
    [
        # In both directions: the 12 voxels of the leading face are 1.3 mm from the other surface. 2 voxels next to the
        # trailing face, inside the other block, are 0.9 mm from its side. The other 40 are on the other surface.
        pytest.param(1, 1, 48, 1.3, 12 * 1.3 + 2 * 0.9, 42, id="shifted by a voxel"),
        # A flip shifts the block by two voxels. In both directions: the 15 voxels of the leading face are 1.8 mm from
        # the other surface. 12 voxels around behind it, and 3 inside the other block next to the trailing face, 0.9 mm.
        pytest.param(0, 2, 30, 1.8, 15 * 1.8 + 15 * 0.9, 39, id="mirrored along the first axis"),
    ],
)
def test_elsewhere(tmp_path, axis, voxels, overlap, hd95_mm, distances_mm, near):
    predicted = scan()[::-1].copy() if axis == 0 else np.where(scan() == 1, np.uint8(0), scan())
    if axis == 1:
        predicted[3:7, 5:10, 3:6] = 1
    np.testing.assert_array_equal(predicted == 1, np.roll(scan() == 1, voxels, axis))
    share = overlap / 60
    shares = {"dice": share, "iou": overlap / (120 - overlap), "sensitivity": share, "precision": share}
    surfaces = {"hd95_mm": hd95_mm, "assd_mm": distances_mm / 54, "nsd": near / 54}
    volumes = {"volume_error": 0, "volume_ml": BLOCK_ML, "reference_volume_ml": BLOCK_ML}
    check(evaluated(tmp_path, predicted)["block"], **shares, **surfaces, **volumes)


def test_a_missing_class(tmp_path):
    """Of the union of all classes, 60 of 68 voxels are predicted and none is wrong."""
    predicted = scan()
    predicted[predicted == 2] = 0
    found = evaluated(tmp_path, predicted)
    shares = {"dice": 0, "iou": 0, "sensitivity": 0, "precision": math.nan}
    surfaces = {"hd95_mm": math.inf, "assd_mm": math.inf, "nsd": 0}
    volumes = {"volume_error": -1, "volume_ml": 0, "reference_volume_ml": BLOCK_ML * 8 / 60}
    check(found["bar"], **shares, **surfaces, **volumes)
    assert found["block"].dice == 1
    together = found["(foreground)"]
    assert (together.precision, together.sensitivity) == (1, pytest.approx(60 / 68))
    assert together.dice == pytest.approx(120 / 128)
    assert together.volume_error == pytest.approx(-8 / 68)


def test_twice_as_large(tmp_path):
    """Five voxels more along the second axis: the whole block and the same number of other voxels."""
    predicted = scan()
    predicted[3:7, 9:14, 3:6] = 1
    found = evaluated(tmp_path, predicted)["block"]
    assert (found.sensitivity, found.precision, found.volume_error) == (1, 0.5, 1)
    assert (found.dice, found.iou) == (pytest.approx(120 / 180), 0.5)
    assert found.volume_ml == pytest.approx(2 * BLOCK_ML)
