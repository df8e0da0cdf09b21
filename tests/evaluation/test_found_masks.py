"""Masks of a folder, and of a BIDS dataset."""

import csv
import json

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.errors import DataError
from attention_unet.evaluation.evaluate import evaluate_folder
from attention_unet.evaluation.found_masks import find_labels, find_masks
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels
from tests.conftest import save_nifti
from tests.evaluation.build import AFFINE, label_map
from tests.inference.build import model_of

LABELS = Labels({"a": (1,), "b": (2, 3)}, (1, 2))
SCANS = ["sub-01/ses-a/anat/sub-01_ses-a", "sub-01/ses-b/anat/sub-01_ses-b", "sub-02/anat/sub-02_run-1"]


def test_where_classes_are_named(tmp_path):
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    (tmp_path / "p").mkdir()

    def labels():
        return find_labels(tmp_path / "p", tmp_path / "r", find_masks(tmp_path / "r"), {}, ["x"])

    assert labels().names == ("label 1", "label 2", "label 3")
    (tmp_path / "p" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "of nnU-Net": 1}}))
    assert labels().names == ("of nnU-Net",)
    (tmp_path / "p" / "run.json").write_text(json.dumps({"labels": LABELS.to_json()}))
    assert labels() == LABELS
    (tmp_path / "p" / "run.json").write_text('{"labels": {"integers": {"a": ["x"]}, "painted": [1]}}')
    with pytest.raises(DataError, match=r"run\.json: is damaged \(.*'x'\): expected what predict writes; remove it"):
        labels()
    (tmp_path / "p" / "run.json").write_text("[]")
    with pytest.raises(DataError, match=r"run\.json: not a JSON object"):
        labels()
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "of another tool"}))
    (tmp_path / "p" / "run.json").unlink()
    (tmp_path / "p" / "dataset.json").unlink()
    assert labels().names == ("label 1", "label 2", "label 3")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "one"}}))
    assert labels().names == ("one",)


@pytest.fixture
def bids(tmp_path):
    """Return a BIDS dataset of three scans with true label maps, predicted by a model that finds bright voxels."""
    root = tmp_path / "raw"
    for seed, name in enumerate(SCANS):
        truth = np.zeros((12, 10, 8), np.uint8)
        truth[3:7, 3:6, 3:6], truth[8 + seed :, 3:6, 3:6] = 3, 9
        image = np.random.RandomState(seed).normal(size=truth.shape).astype(np.float32) + 5 * (truth > 0)
        save_nifti(root / f"{name}_T1w.nii.gz", image, np.eye(4))
        save_nifti(root / "derivatives" / "manual" / f"{name}_desc-expert_dseg.nii.gz", truth, np.eye(4))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    wanted = Settings(attention=True, probabilities=True)
    assert predict_tree([model_of()], root, root / "derivatives" / "masks", wanted, bids=["T1w"]) == {}
    return root


def test_masks_of_a_bids_dataset_are_those_of_a_folder(bids, tmp_path):
    """The same masks in plain folders, under plain names, have the same scores."""
    masks, manual = bids / "derivatives" / "masks", bids / "derivatives" / "manual"
    for kind, folder in (("p", masks), ("r", manual)):
        (tmp_path / kind).mkdir()
        for path in folder.rglob("sub-*_dseg.nii.gz"):
            if path.parent.name == "anat":
                name = path.name.partition("_space")[0].partition("_desc")[0]
                (tmp_path / kind / f"{name}.nii.gz").write_bytes(path.read_bytes())
    assert len(list((tmp_path / "p").iterdir())) == len(list((tmp_path / "r").iterdir())) == 3
    summary, failed = evaluate_folder(masks, manual, tmp_path / "of-bids", images=bids)
    assert failed == {}
    (tmp_path / "p" / "run.json").write_bytes((masks / "sub-02" / "anat" / "run.json").read_bytes())
    plain, _ = evaluate_folder(tmp_path / "p", tmp_path / "r", tmp_path / "of-folder")
    rows, expected = ([*csv.DictReader((tmp_path / of / "metrics.csv").open())] for of in ("of-bids", "of-folder"))
    assert {row["class"] for row in rows} >= {"bright", "dark"}  # of the model
    assert {row["case"]: row["subject"] for row in rows} == {
        "sub-01_ses-a": "sub-01",
        "sub-01_ses-b": "sub-01",
        "sub-02_run-1": "sub-02",
    }
    assert [{**row, "subject": ""} for row in rows] == expected
    assert summary.foreground_mean["dice"] == plain.foreground_mean["dice"]
    for name in ("calibration.csv", "attention.csv", "picture.png"):
        assert (tmp_path / "of-bids" / name).is_file(), name
    scored = json.loads((tmp_path / "of-bids" / "scored.json").read_text())
    assert scored["cases"]["sub-02_run-1"]["images"] == ["../raw/sub-02/anat/sub-02_run-1_T1w.nii.gz"]
    assert main(["report", str(tmp_path / "of-bids")]) == 0
    assert "attention, skip" in (tmp_path / "of-bids" / "report.html").read_text()


def test_warnings_and_tables_of_a_bids_dataset(bids, tmp_path, capsys):
    masks, manual = bids / "derivatives" / "masks", bids / "derivatives" / "manual"
    edited = next((masks / "sub-02").rglob("*_dseg.nii.gz"))
    save_nifti(edited, np.full((12, 10, 8), 3, np.uint8), np.eye(4))
    call = ["evaluate", "-p", str(masks), "-r", str(manual), "-o", str(tmp_path / "out")]
    assert main(call) == 0
    assert "1 mask changed after prediction, scored with the changes: sub-02_run-1" in capsys.readouterr().out
    for path in masks.rglob("run.json"):
        path.unlink()
    (manual / "dseg.tsv").write_text("index\tname\n3\tleft\n9\tright\n")
    assert main([*call[:-1], str(tmp_path / "named")]) == 0
    rows = csv.DictReader((tmp_path / "named" / "metrics.csv").open())
    assert {"left", "right"} < {row["class"] for row in rows}
    known = find_masks(manual)
    save_nifti(manual / "sub-02" / "anat" / "sub-02_run-1_desc-brain_mask.nii.gz", label_map(), AFFINE)
    assert find_masks(manual) == known
    save_nifti(manual / "sub-02" / "anat" / "sub-02_run-1_desc-other_dseg.nii.gz", label_map(), AFFINE)
    with pytest.raises(DataError, match=r"desc-other.*sub-02_run-1 has two label maps, also .*desc-expert"):
        find_masks(manual)
