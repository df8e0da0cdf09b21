"""Evaluations where some of the truth is unknown: ignored voxels, and classes that a case does not annotate."""

import json

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.dataset.cases import Case
from attention_unet.evaluation.calibration import count_by_bin, measure_reliability
from attention_unet.evaluation.evaluate import evaluate_folder
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import read_metrics
from attention_unet.evaluation.score import score_case
from attention_unet.evaluation.structure_attention import attention_in_structures
from attention_unet.scans.labels import FOREGROUND, Labels
from tests.conftest import save_nifti

GRID = (12, 14, 10)
LABELS = {"background": 0, "a": 1, "b": 2, "ignore": 7}


def random_labels(seed):
    random = np.random.RandomState(seed)
    return np.repeat(random.randint(0, 3, size=(12, 14, 2)), 5, axis=2).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Return predictions and references: half of each reference is ignored, and "second" does not annotate b."""
    for seed, case in enumerate(("first", "second")):
        reference, prediction = random_labels(seed), random_labels(seed + 10)
        reference[:, 7:] = 7
        save_nifti(tmp_path / "data" / "labelsTr" / f"{case}.nii.gz", reference)
        save_nifti(tmp_path / "p" / f"{case}.nii.gz", prediction)
    description = {"labels": LABELS, "annotated": {"second": ["a"]}}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
    return tmp_path / "p", tmp_path / "data" / "labelsTr"


def dice(prediction, reference):
    return 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())


def test_metrics_leave_out_what_is_unknown(folders, tmp_path):
    summary, failed = evaluate_folder(*folders, tmp_path / "e")
    assert failed == {}
    rows = {(row.case, row.class_name): row.metrics for row in read_metrics(tmp_path / "e" / "metrics.csv")}
    for seed, case in enumerate(("first", "second")):
        known = [random_labels(seed + shift)[:, :7] for shift in (10, 0)]
        for value, name in ((1, "a"), (2, "b")):
            if (case, name) != ("second", "b"):
                assert rows[case, name].dice == pytest.approx(dice(*(each == value for each in known)), abs=1e-6)
                assert rows[case, name].volume_ml == pytest.approx((known[0] == value).sum() / 1000, rel=1e-5)
    for name in ("b", FOREGROUND):
        assert all(np.isnan(getattr(rows["second", name], metric)) for metric in METRICS)
    assert summary.classes["b"]["dice"].n == 1
    assert summary.warnings.unknown_labels == {}
    assert list(read_evaluated_files(tmp_path / "e").cases["second"].unannotated) == ["b"]


def contour_distances(start, end):
    """Return the distance of each pixel on the contour of a mask to that of another, pixel by pixel."""

    def contour(mask):
        padded = np.pad(mask, 1)
        around = (padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2])
        return [p for p in np.argwhere(mask) if not all(side[tuple(p)] for side in around)]

    there = contour(end)
    return [min(np.hypot(*(p - q)) for q in there) for p in contour(start)]


def test_surfaces_of_single_slices_are_their_contours():
    x, y, z = np.ogrid[-12:13, -12:13, -12:13]
    radius = np.sqrt(x**2 + y**2 + z**2)
    reference, prediction = (radius <= 10).astype(np.uint8), (radius <= 8).astype(np.uint8)
    annotated = [6, 12, 18]  # further from each other than the surfaces are
    expected = []
    for k in annotated:
        masks = prediction[..., k] == 1, reference[..., k] == 1
        expected += contour_distances(*masks) + contour_distances(*masks[::-1])
    truth = np.where(np.isin(np.arange(25), annotated), reference, 7)
    (row,) = score_case("x", prediction, truth, Labels({"a": (1,)}, (1,), 7), (1.0, 1.0, 1.0), 1.0)
    assert row.metrics.assd_mm == pytest.approx(np.mean(expected))
    assert row.metrics.nsd == pytest.approx(np.mean(np.array(expected) <= 1))
    assert row.metrics.nsd < 0.1
    truth[:] = 7
    truth[10:15, 10:15, 12] = 1  # inside of the structure
    (row,) = score_case("x", prediction, truth, Labels({"a": (1,)}, (1,), 7), (1.0, 1.0, 1.0), 1.0)
    assert row.metrics.dice == 1
    assert np.isnan([row.metrics.hd95_mm, row.metrics.assd_mm, row.metrics.nsd]).all()
    truth[10:15, 10:15, 12] = 0  # the structure is invented in all voxels that are annotated
    (row,) = score_case("x", prediction, truth, Labels({"a": (1,)}, (1,), 7), (1.0, 1.0, 1.0), 1.0)
    assert (row.metrics.dice, row.metrics.nsd, row.metrics.hd95_mm, row.metrics.assd_mm) == (0, 0, np.inf, np.inf)


def test_a_class_that_no_case_annotates_has_no_figures(folders, tmp_path, capsys):
    file = folders[1].parent / "dataset.json"
    file.write_text(json.dumps({"labels": LABELS, "annotated": {"first": ["a"], "second": ["a"]}}))
    assert main(["evaluate", "-p", str(folders[0]), "-r", str(folders[1]), "-o", str(tmp_path / "e")]) == 0
    shown = capsys.readouterr().out
    assert "b: not annotated in 2 cases, left out of the means" in shown
    assert "both masks are empty" not in shown


def test_calibration_leaves_out_what_is_unknown(folders, tmp_path):
    random = np.random.RandomState(0)
    shares = {case: random.dirichlet([1, 1, 1], size=GRID).astype(np.float32) for case in ("first", "second")}
    files = {case: save_nifti(tmp_path / "s" / f"{case}.nii.gz", share) for case, share in shares.items()}
    unannotated = {"first": (), "second": ("b",)}
    cases = {case: Case(case, (), folders[1] / f"{case}.nii.gz", unannotated[case]) for case in shares}
    labels = Labels({"a": (1,), "b": (2,)}, (1, 2), 7)
    found, failed = measure_reliability(files, cases, labels, lambda: None)
    assert failed == {}
    for channel, name, cases in ((1, "a", ("first", "second")), (2, "b", ("first",))):
        expected = sum(
            count_by_bin(shares[case][:, :7, :, channel], random_labels(case == "second")[:, :7] == channel)
            for case in cases
        )
        np.testing.assert_array_equal(found[name][0], expected[0])
        np.testing.assert_allclose(found[name][2], expected[2])


def test_attention_leaves_out_ignored_voxels():
    weights, reference = np.random.RandomState(0).uniform(0.1, 1, size=GRID), random_labels(0)
    labels = Labels({"a": (1,), "b": (2,)}, (1, 2), 7)
    expected = attention_in_structures("x", "skip 1", weights[:, :7], reference[:, :7], labels)
    reference[:, 7:] = 7
    assert attention_in_structures("x", "skip 1", weights, reference, labels) == expected
