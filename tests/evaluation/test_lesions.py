"""Lesions, counted by a flood fill in pure Python."""

import itertools
import math

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.evaluation.lesions import Lesions, count_lesions
from attention_unet.scans.labels import Labels
from tests.conftest import read_csv, save_nifti

LABELS = Labels({"lesion": (1,), "node": (2, 3)}, (1, 2))
STEPS = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]


def flood(mask):
    """Return the components of a mask as sets of voxels, which touch at faces, edges or corners."""
    left, components = set(map(tuple, np.argwhere(mask))), []
    while left:
        border, component = [left.pop()], set()
        while border:
            voxel = border.pop()
            component.add(voxel)
            near = {tuple(np.add(voxel, step)) for step in STEPS} & left
            left -= near
            border += near
        components.append(component)
    return components


def test_counts_are_those_of_a_flood_fill():
    random = np.random.RandomState(0)
    for _ in range(20):
        prediction, reference = random.choice(4, size=(2, 6, 7, 5), p=[0.85, 0.05, 0.05, 0.05])
        found = count_lesions(prediction, reference, LABELS)
        for name, group in LABELS.integers.items():
            mine, true = (flood(np.isin(label_map, group)) for label_map in (prediction, reference))
            hit = sum(any(one & other for other in mine) for one in true)
            correct = sum(any(one & other for other in true) for one in mine)
            assert found[name] == Lesions(len(true), hit, len(mine), correct)


def test_shares():
    some = Lesions(8, 4, 8, 4)
    assert (some.sensitivity, some.precision, some.f1) == (0.5, 0.5, 0.5)
    assert math.isnan(Lesions(0, 0, 0, 0).f1)
    assert (Lesions(2, 0, 0, 0).f1, Lesions(0, 0, 2, 0).f1, Lesions(1, 0, 1, 0).f1) == (0, 0, 0)
    assert math.isnan(Lesions(0, 0, 2, 0).sensitivity)
    assert math.isnan(Lesions(2, 0, 0, 0).precision)


def test_ignored_voxels_and_classes_without_annotation_are_left_out():
    reference = np.zeros((5, 5, 5), np.uint8)
    reference[0, 0, 0], reference[3:] = 1, 7
    prediction = np.zeros_like(reference)
    prediction[0, 0, 0] = prediction[4, 4, 4] = 1
    labels = Labels(LABELS.integers, LABELS.painted, ignore=7)
    assert count_lesions(prediction, reference, labels, ["node"]) == {"lesion": Lesions(1, 1, 1, 1)}


@pytest.mark.parametrize("option", [["--components"], []])
def test_the_table(tmp_path, capsys, option):
    reference = np.zeros((9, 9, 9), np.uint8)
    reference[1, 1, 1] = reference[5:7, 5, 5] = 1
    prediction = np.zeros_like(reference)
    prediction[5, 5, 5] = prediction[1, 8, 8] = prediction[8, 1, 1] = 1
    for case in "ab":
        save_nifti(tmp_path / "labels" / f"{case}.nii.gz", reference, np.eye(4))
    save_nifti(tmp_path / "masks" / "a.nii.gz", prediction, np.eye(4))
    call = ["evaluate", f"-p={tmp_path / 'masks'}", f"-r={tmp_path / 'labels'}", f"-o={tmp_path / 'out'}"]
    assert main([*call, "--components"]) == 0
    assert "1, components of all cases: 1 of 4 found, 1 of 3 predicted ones true, F1 0.286" in capsys.readouterr().err
    a, b = read_csv(tmp_path / "out" / "components.csv")
    counts = [a[name] for name in ("reference", "found", "predicted", "true", "sensitivity")]
    assert counts == ["2", "1", "3", "1", "0.5"]
    assert [b[name] for name in ("case", "found", "predicted", "precision", "f1")] == ["b", "0", "0", "nan", "0"]
    assert main([*call, *option]) == 0
    assert (tmp_path / "out" / "components.csv").exists() == bool(option)
