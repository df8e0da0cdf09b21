"""Trainings where some of the truth is unknown: ignored voxels, and classes that a case does not annotate."""

import json
import shutil

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.config import AttentionConfig, DataConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import DataError
from attention_unet.evaluation.rows import read_metrics
from attention_unet.explanation import checks
from attention_unet.inference.model_file import load_model
from attention_unet.preparation import planning as planning_module
from attention_unet.preparation.patches import PatchDataset
from attention_unet.preparation.planning import make_plan
from attention_unet.training import validation as validation_module
from attention_unet.training.losses import SegmentationLoss
from attention_unet.training.train import train
from tests.preparation.build import LAPTOP, cohort_of
from tests.training.build import config, rewrite


def describe(folder, **fields):
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.fixture
def sparse(cohort, tmp_path):
    """Return phantoms with an annotation in every third slice. Half of the cases do not annotate lesions."""
    folder = shutil.copytree(cohort, tmp_path / "Sparse")
    for file in sorted((folder / "labelsTr").iterdir()):
        rewrite(file, lambda label: np.where(np.arange(label.shape[2]) % 3 == 0, label, 9))
    labels = {"0": "background", "1": "Ventricle", "2": "Nucleus", "3": "Lesion", "9": "ignore"}
    unlisted = {f"phantom_{number:03d}": ["Ventricle", "Nucleus"] for number in range(0, 8, 2)}
    describe(folder, labels=labels, annotated=unlisted)
    return folder


def test_a_training_with_unknown_truth(sparse, tmp_path, monkeypatch):
    """It predicts whole scans, and no ignored label."""
    found = {}
    original = validation_module.dice_by_class

    def recording(predicted, reference, labels, unannotated):
        values = original(predicted, reference, labels, unannotated)
        known = reference != 9
        assert values == pytest.approx(original(predicted[known], reference[known], labels, unannotated), nan_ok=True)
        found[unannotated] = np.isnan(values).tolist()
        return values

    monkeypatch.setattr(validation_module, "dice_by_class", recording)
    learned, forward = set(), SegmentationLoss.forward

    def learning(self, logits, target, annotated=None):
        learned.add((self.ignoring, bool((target == 255).any()), annotated is not None and not bool(annotated.all())))
        return forward(self, logits, target, annotated)

    monkeypatch.setattr(SegmentationLoss, "forward", learning)
    train(config(sparse, data={"folds": 2}, attention=AttentionConfig(bottleneck="encoding")), tmp_path / "run")
    assert {each[0] for each in learned} == {True}
    assert (True, True, True) in learned
    assert set(found) == {(), ("Lesion",)}
    assert found["Lesion",][2]
    scan = next((sparse / "imagesTr").iterdir())
    predicted = load_model(tmp_path / "run").predict(scan).label_map
    assert set(np.unique(np.asarray(predicted.dataobj))) <= {0, 1, 2, 3}


def test_a_cross_validation_and_its_report(sparse, tmp_path, capsys):
    steps = ["--training.steps=2", "--training.validations=1", "--network.base_channels=4", "--data.folds=2"]
    assert main(["cross-validate", "--data.root", str(sparse), "--run", str(tmp_path / "cv"), *steps]) == 0
    rows = read_metrics(tmp_path / "cv" / "metrics.csv")
    lesions = {row.case: row.metrics.reference_volume_ml for row in rows if row.class_name == "Lesion"}
    assert [case for case, volume in lesions.items() if np.isnan(volume)] == [
        f"phantom_{n:03d}" for n in range(0, 8, 2)
    ]
    assert main(["report", str(tmp_path / "cv")]) == 0


def test_cases_without_any_annotation_are_not_trained_on(sparse, tmp_path, monkeypatch, caplog):
    for number, file in enumerate(sorted((sparse / "labelsTr").iterdir())):
        if number not in (1, 2):
            rewrite(file, lambda label: np.full_like(label, 9))
    shown = set()
    original = PatchDataset.__getitem__
    monkeypatch.setattr(PatchDataset, "__getitem__", lambda self, n: (shown.add(self.case_of(n)), original(self, n))[1])
    with caplog.at_level("WARNING"):
        train(config(sparse, data={"fold": -1}), tmp_path / "run")
    assert shown <= {"phantom_001", "phantom_002"}
    assert "all voxels are ignored: it is not trained on" in caplog.text


@pytest.mark.usefixtures("few_deletions")
def test_explain_leaves_out_what_is_unknown(sparse, tmp_path, monkeypatch):
    train(config(sparse, data={"folds": 2}), tmp_path / "run")
    lists, original = set(), checks.dice_by_class
    monkeypatch.setattr(checks, "dice_by_class", lambda *a: (lists.add(a[3]), original(*a))[1])
    assert main(["explain", str(tmp_path / "run"), "--cases", "2"]) == 0
    assert ("Lesion",) in lists


def test_a_list_that_changed_is_noticed(sparse, tmp_path):
    train(config(sparse, steps=1), tmp_path / "run")
    describe(sparse, annotated={})
    with pytest.raises(DataError, match="list of annotated classes changed since the run began"):
        train(config(sparse, steps=2), tmp_path / "run", resume=True, override=True)


def test_a_list_may_name_test_cases(sparse):
    describe(sparse, annotated={"phantom_008": ["Lesion"]})
    assert (sparse / "labelsTs" / "phantom_008.nii.gz").exists()
    assert len(find_dataset(DataConfig(root=str(sparse))).cases) == 8


def test_odd_annotation_is_warned_of(sparse, tmp_path, capsys):
    for file in sorted((sparse / "labelsTr").iterdir()):
        rewrite(file, lambda label: np.where(label == 0, 9, label))
    assert main(["inspect", str(sparse), "--no-trial"]) == 0
    shown = capsys.readouterr().err
    assert "holds Lesion, which its list in dataset.json does not name: counted as background" in shown
    describe(sparse, annotated={})
    assert main(["inspect", str(sparse), "--no-trial"]) == 0
    assert "no annotated voxel is background" in capsys.readouterr().err
    describe(sparse, annotated={f"phantom_{number:03d}": ["Ventricle"] for number in range(8)})
    with pytest.raises(DataError, match="the class Lesion is annotated in no case"):
        train(config(sparse), tmp_path / "run")


def test_nothing_annotated(sparse, tmp_path, caplog):
    for number, file in enumerate(sorted((sparse / "labelsTr").iterdir())):
        if number in (4, 5):
            rewrite(file, lambda label: np.full_like(label, 9))
    splits = [{"train": [f"phantom_{n:03d}" for n in (0, 1, 2, 3, 6, 7)], "val": ["phantom_004", "phantom_005"]}]
    (tmp_path / "splits.json").write_text(json.dumps(splits * 2))
    given = config(sparse, steps=1, data={"splits": str(tmp_path / "splits.json"), "folds": 2})
    with caplog.at_level("WARNING"):
        train(given, tmp_path / "run")
    assert "all voxels of all held-out cases are ignored: nothing can be validated" in caplog.text
    (tmp_path / "splits.json").write_text(
        json.dumps([{"train": ["phantom_004", "phantom_005"], "val": ["phantom_000"]}] * 2)
    )
    with pytest.raises(DataError, match="all voxels of all training cases are ignored"):
        train(given, tmp_path / "other")


def test_inspect_says_how_much_is_annotated(sparse, capsys):
    assert main(["inspect", str(sparse), "--no-trial"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "annotated: 3" in shown
    assert "% of the voxels (3" in shown
    assert "not annotated: Lesion in 4 of 8 cases" in shown
    assert "Lesion 4 of 4" in shown


def test_a_list_for_a_case_that_is_not_there(sparse):
    describe(sparse, annotated={"phantom_099": ["Lesion"]})
    with pytest.raises(DataError, match="annotated names phantom_099: no such case"):
        find_dataset(DataConfig(root=str(sparse)))


@pytest.mark.parametrize("fields", [{}, {"labels": {"1": "Ventricle", "2": "Nucleus", "3": "Lesion"}, "annotated": {}}])
def test_no_locator_where_the_extent_of_the_structures_is_unknown(sparse, cohort, fields, monkeypatch):
    monkeypatch.setattr(planning_module, "region_extent", lambda fingerprint: np.array([30.0, 30.0, 30.0]))
    large = cohort_of((200, 200, 200), (1, 1, 1))
    given = config(sparse, steps=2000, data={"patch": None, "spacing_mm": None})
    assert make_plan(given, find_dataset(DataConfig(root=str(cohort))), large, LAPTOP).region_mm is not None
    describe(sparse, **({"annotated": {}} if not fields else {"labels": fields["labels"]}))
    assert make_plan(given, find_dataset(DataConfig(root=str(sparse))), large, LAPTOP).region_mm is None


def test_rare_classes_are_balanced(cohort, tmp_path, capsys):
    """Lesions are taken out of all label maps but one."""
    folder = shutil.copytree(cohort, tmp_path / "Rare")
    for file in sorted((folder / "labelsTr").iterdir())[1:]:
        rewrite(file, lambda label: np.where(label == 3, 0, label))
    train(config(folder, data={"balance_classes": True, "fold": 1}), tmp_path / "run")
    assert main(["inspect", str(folder), "--no-trial"]) == 0
    assert "the class Lesion is in only 1 of 8 cases; with data.balance_classes" in capsys.readouterr().err
