"""Calibration of probabilities, with truth drawn from the same or from other probabilities."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.dataset.cases import Case
from attention_unet.evaluation.calibration import BINS, calibration_error, count_by_bin, measure_reliability
from attention_unet.scans.labels import Labels
from tests.conftest import oblique_affine, read_csv, save_nifti

LABELS = Labels({"a": (1,), "b": (4,)}, (1, 4))
AFFINE = oblique_affine((2.0, 1.0, 4.0))
GRID = (20, 24, 10)


def draw_case(seed, true=lambda p: p):
    """Return probabilities of background, a and b (I, J, K, 3), and a label map drawn from the true probabilities."""
    random = np.random.RandomState(seed)
    a = random.uniform(0, 1, GRID)
    b = random.uniform(0, 1 - a)
    dice = random.uniform(0, 1, GRID)
    label_map = np.where(dice < true(a), 1, np.where(dice < true(a) + true(b), 4, 0))
    return np.stack([1 - a - b, a, b], axis=-1).astype(np.float32), label_map.astype(np.uint8)


def cohort(folder, n=4, **options):
    references = {}
    for seed in range(n):
        predicted, label_map = draw_case(seed, **options)
        save_nifti(folder / "p" / "probabilities" / f"x{seed}.nii.gz", predicted, AFFINE)
        save_nifti(folder / "p" / f"x{seed}.nii.gz", predicted.argmax(axis=-1).astype(np.uint8), AFFINE)
        label = save_nifti(folder / "r" / f"x{seed}.nii.gz", label_map, AFFINE)
        references[f"x{seed}"] = Case(f"x{seed}", (), label)
    return references


def probability_files(references):
    labels = {name: case.label for name, case in references.items()}
    return {name: path.parents[1] / "p" / "probabilities" / path.name for name, path in labels.items()}


def by_hand(pairs):
    """Return the error from the voxels of each bin: their mean probability, and the share of true voxels."""
    error = 0.0
    everything = np.concatenate([p for p, _ in pairs]), np.concatenate([t for _, t in pairs])
    for i in range(BINS):
        chosen = [
            (p, t) for p, t in zip(*everything, strict=True) if i / BINS <= p < (i + 1) / BINS or p == 1 == i + 2 - BINS
        ]
        if chosen:
            probability, truth = np.mean(chosen, axis=0)
            error += len(chosen) / len(everything[0]) * abs(probability - truth)
    return error


def test_background_beyond_doubt_makes_errors_small():
    bins = np.array([[96, 1, 3], [0, 0.5, 3 * 0.9], [0, 0, 3]])
    assert calibration_error(bins) == pytest.approx((0.5 + 3 * 0.1) / 100)
    assert calibration_error(bins[:, 1:]) == pytest.approx((0.5 + 3 * 0.1) / 4)


def test_probabilities_that_can_be_believed(tmp_path):
    references = cohort(tmp_path)
    by_class, failed = measure_reliability(probability_files(references), references, LABELS, lambda: None)
    assert failed == {}
    for name, value, channel in (("a", 1, 1), ("b", 4, 2)):
        assert by_class[name][0].sum() == 4 * np.prod(GRID)
        assert calibration_error(by_class[name]) < 0.02
        pairs = [(draw_case(seed)[0][..., channel].ravel(), draw_case(seed)[1].ravel() == value) for seed in range(4)]
        assert calibration_error(by_class[name]) == pytest.approx(by_hand(pairs), abs=1e-6)


def test_probabilities_that_are_too_sure(tmp_path):
    """At a probability p the share is p / 2, so the error is half the mean of p."""
    references = cohort(tmp_path, true=lambda p: p / 2)
    by_class, _ = measure_reliability(probability_files(references), references, LABELS, lambda: None)
    voxels, probability, truth = by_class["a"]
    np.testing.assert_allclose(truth / voxels, probability / voxels / 2, atol=0.06)
    assert calibration_error(by_class["a"]) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    "own",
    [
        {"integers": {"b": [4], "a": [1]}, "painted": [4, 1]},  # another order
        {"integers": {"c": [7], "a": [1], "b": [4]}, "painted": [7, 1, 4]},  # a class that is not scored
    ],
)
def test_the_model_may_have_its_classes_in_another_order(tmp_path, own):
    references = cohort(tmp_path)
    files = probability_files(references)
    before, _ = measure_reliability(files, references, LABELS, lambda: None)
    channel = {"a": 1, "b": 2, "c": 0}
    for file in files.values():
        image = nib.load(file)
        array = np.asarray(image.dataobj)[..., [0, *(channel[name] for name in own["integers"])]]
        nib.save(nib.Nifti1Image(array, image.affine), file)
    (tmp_path / "p" / "run.json").write_text(json.dumps({"labels": own}))
    after, failed = measure_reliability(files, references, LABELS, lambda: None)
    assert failed == {}
    for name, bins in before.items():
        np.testing.assert_array_equal(after[name], bins)


def test_probabilities_of_other_classes_are_refused(tmp_path):
    references = cohort(tmp_path, n=1)
    (tmp_path / "p" / "run.json").write_text(
        json.dumps({"labels": {"integers": {"a": [1], "b": [5]}, "painted": [1, 5]}})
    )
    _, failed = measure_reliability(probability_files(references), references, LABELS, lambda: None)
    assert "is of other classes than those scored" in failed["x0"]


@pytest.mark.parametrize("wrong", [100.0, -4.0])
def test_what_is_no_probability_is_told(tmp_path, wrong):
    references = cohort(tmp_path)
    files = probability_files(references)
    file = next(iter(files.values()))
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * wrong, image.affine), file)
    _, failed = measure_reliability(files, references, LABELS, lambda: None)
    assert "expected probabilities, 0 to 1" in next(iter(failed.values()))
    assert len(failed) == 1


def test_voxels_far_from_any_structure_do_not_count(tmp_path):
    """Around a structure of one voxel of 2 x 1 x 4 mm, 10 mm are 5, 10 and 2 voxels on either side."""
    predicted, label_map = np.zeros((40, 40, 20, 3), dtype=np.float32), np.zeros((40, 40, 20), dtype=np.uint8)
    predicted[..., 0], label_map[20, 20, 10] = 1, 1
    save_nifti(tmp_path / "p" / "probabilities" / "x.nii.gz", predicted, AFFINE)
    references = {"x": Case("x", (), save_nifti(tmp_path / "r" / "x.nii.gz", label_map, AFFINE))}
    by_class, _ = measure_reliability(probability_files(references), references, LABELS, lambda: None)
    assert by_class["a"][0].sum() == 11 * 21 * 5
    assert calibration_error(by_class["a"]) == pytest.approx(1 / (11 * 21 * 5))


def test_bins():
    voxels, probability, truth = count_by_bin(np.array([0.0, 0.05, 0.5, 1.0]), np.array([False, True, True, True]))
    assert (voxels[0], voxels[BINS // 2], voxels[-1]) == (2, 1, 1)
    assert (probability[0], truth[0]) == (pytest.approx(0.05), 1)
    assert np.isnan(calibration_error(np.zeros((3, BINS))))


def test_evaluation_tells_it_where_probabilities_were_saved(tmp_path, capsys):
    cohort(tmp_path, n=2)
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "a", "4": "b"}}')
    call = ["evaluate", "-p", str(tmp_path / "p"), "-r", str(tmp_path / "r"), "-o", str(tmp_path / "out")]
    assert main(call) == 0
    err = capsys.readouterr().err
    assert re.search(r"error of 2 cases \(in brackets: .* at least 7%\): a 0\.0\d+ \(0\.0\d+\), b", err)
    rows = read_csv(tmp_path / "out" / "calibration.csv")
    assert [row["class"] for row in rows] == ["a"] * BINS + ["b"] * BINS
    assert all(float(row["from"]) <= float(row["probability"]) <= float(row["to"]) for row in rows)
    save_nifti(tmp_path / "p" / "probabilities" / "x1.nii.gz", np.zeros((*GRID, 2), dtype=np.float32), AFFINE)
    assert main(call) == 1
    assert "x1.nii.gz: has 2 channels: expected 3, one per class and one for the background" in capsys.readouterr().err
    for path in (tmp_path / "p" / "probabilities").iterdir():
        path.write_bytes(b"broken")
    assert main(call) == 1
    assert not list((tmp_path / "out").glob("calibration.*"))  # every case failed
    for path in (tmp_path / "p" / "probabilities").iterdir():
        path.unlink()
    assert main(call) == 0
    assert not list((tmp_path / "out").glob("calibration.*"))


def test_a_case_without_structures_counts_nothing(tmp_path):
    predicted, label_map = np.zeros((40, 40, 20, 3), dtype=np.float32), np.zeros((40, 40, 20), dtype=np.uint8)
    predicted[..., 0] = 1
    save_nifti(tmp_path / "p" / "probabilities" / "x.nii.gz", predicted, AFFINE)
    references = {"x": Case("x", (), save_nifti(tmp_path / "r" / "x.nii.gz", label_map, AFFINE))}
    by_class, _ = measure_reliability(probability_files(references), references, LABELS, lambda: None)
    assert not by_class["a"][0].any()


def test_a_structure_that_is_invented_far_away_counts(tmp_path):
    predicted, label_map = np.zeros((60, 10, 10, 3), dtype=np.float32), np.zeros((60, 10, 10), dtype=np.uint8)
    predicted[50:52, 5, 5, 1], label_map[0, 0, 0] = 0.92, 1
    predicted[..., 0] = 1 - predicted[..., 1]
    save_nifti(tmp_path / "p" / "probabilities" / "x.nii.gz", predicted, AFFINE)
    references = {"x": Case("x", (), save_nifti(tmp_path / "r" / "x.nii.gz", label_map, AFFINE))}
    by_class, _ = measure_reliability(probability_files(references), references, LABELS, lambda: None)
    sure = int(0.92 * BINS)
    voxels, _, truth = by_class["a"][:, sure]
    assert (voxels, truth) == (2, 0)
