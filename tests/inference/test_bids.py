"""Scans and masks of BIDS datasets."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attention_unet.errors import ConfigError
from attention_unet.files.lock import Busy, folder_lock
from attention_unet.files.part import Part
from attention_unet.inference import predict_tree as predict_tree_module
from attention_unet.inference.bids import find_bids_scans
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.settings import Settings
from tests.conftest import save_nifti
from tests.inference.build import files, model_of, plan_of

MASK = "space-orig_desc-attentionunet_dseg"


@pytest.fixture
def bids(tmp_path):
    """Return a BIDS dataset of two participants, with a derivative."""
    root = tmp_path / "raw"
    names = ["sub-01/ses-a/anat/sub-01_ses-a_T1w", "sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w", "sub-02/anat/sub-02_T1w"]
    for seed, name in enumerate([*names, "sub-02/anat/sub-02_FLAIR", "derivatives/x/sub-02/anat/sub-02_T1w"]):
        path = root / f"{name}.nii.gz"
        save_nifti(path, np.random.RandomState(seed).normal(size=(9, 8, 7)).astype(np.float32), np.eye(4))
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{}")
    description = {"Name": "raw", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Two participants, made for a test.")
    return root


def test_a_bids_dataset_becomes_a_derivative(bids):
    output = bids / "derivatives" / "masks"
    assert predict_tree([model_of()], bids, output, Settings(attention=True), bids=["T1w"]) == {}
    assert [name for name in files(output, "*.nii.gz") if "attention/" not in name] == [
        f"sub-01/ses-a/anat/sub-01_ses-a_run-2_{MASK}.nii.gz",
        f"sub-01/ses-a/anat/sub-01_ses-a_{MASK}.nii.gz",
        f"sub-02/anat/sub-02_{MASK}.nii.gz",
    ]
    of_one = output / "sub-02" / "anat" / f"sub-02_{MASK}.json"
    assert json.loads(of_one.read_text())["Sources"] == ["bids:source:sub-02/anat/sub-02_T1w.nii.gz"]
    with of_one.with_suffix(".tsv").open() as table:
        assert [(row["index"], row["name"]) for row in csv.DictReader(table, delimiter="\t")] == [
            ("3", "bright"),
            ("9", "dark"),
        ]
    described = json.loads((output / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["DatasetLinks"] == {"source": "../.."}
    validator = shutil.which(
        "bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if validator is None:
        pytest.skip("needs bids-validator-deno, to validate the derivative")
    for folder in (bids, output):
        call = [validator, "--ignoreWarnings", folder]
        found = subprocess.run(call, capture_output=True, text=True, check=False)
        assert "appears to be BIDS compatible" in found.stdout, found.stdout


def test_what_others_have_changed_in_a_derivative_is_kept(bids, tmp_path):
    output = tmp_path / "out"
    predict_tree([model_of()], bids, output, bids=["T1w"])
    changed = [output / "dataset_description.json", output / ".bidsignore", output / "itk-snap_labels.txt"]
    changed += [output / "sub-02" / "anat" / f"sub-02_{MASK}{ending}" for ending in (".json", ".tsv")]
    changed[0].write_text(json.dumps({**json.loads(changed[0].read_text()), "License": "CC0"}))
    for file in changed[1:]:
        file.write_text(f"{file.read_text() if file.exists() else ''} changed by hand")
    before = [file.read_text() for file in changed]
    assert predict_tree([model_of()], bids, output, bids=["T1w"], resume=True) == {}
    assert [file.read_text() for file in changed] == before
    failed = predict_tree([model_of()], bids, output, bids=["T1w"], overwrite=True)
    assert "was changed after it was predicted" in failed["sub-02/anat"]
    with pytest.raises(
        ConfigError, match="describes 'Segmentations of T1w by attention_unet', expected 'Segmentations of FLAIR"
    ):
        predict_tree([model_of()], bids, output, bids=["FLAIR"], resume=True)


def test_names_of_masks(bids, tmp_path):
    anat = bids / "sub-02" / "anat"
    shutil.move(anat / "sub-02_T1w.nii.gz", anat / "sub-02_space-MNI_desc-preproc_T1w.nii.gz")
    shutil.copy(bids / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", bids / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii")
    failed = predict_tree([model_of()], bids, tmp_path / "out", bids=["T1w"])
    assert list(failed) == ["sub-01/ses-a/anat/sub-01_ses-a"]
    assert "sub-01_ses-a has 2 T1w: expected one file each" in next(iter(failed.values()))
    assert files(tmp_path / "out", "*.nii.gz")[-1] == "sub-02/anat/sub-02_space-MNI_desc-attentionunet_dseg.nii.gz"


def test_what_is_not_read_of_a_bids_dataset_is_told(bids, tmp_path, caplog):
    anat = bids / "sub-02" / "anat"
    for name in ("sub-02_acq-high-res_T1w", "sub-02_desc-b_T1w", "sub-02_desc-a_T1w"):
        shutil.copy(anat / "sub-02_T1w.nii.gz", anat / f"{name}.nii.gz")
    (anat / "sub-02_T1w.nii.gz").rename(anat / "sub-03_T1w.nii.gz")
    (bids / "sub-03").mkdir()
    twice = ["02", "sub-02", "03"]
    failed = predict_tree([model_of()], bids, tmp_path / "out", bids=["T1w"], participants=twice)
    assert failed == {
        "sub-03": f"{bids / 'sub-03'}: holds no scan T1w",
        "sub-02/anat/sub-02_desc-b": f"{anat}: sub-02_desc-b: its mask would have the name of another scan's mask, "
        f"sub-02_{MASK}; move one of them to another folder",
    }
    assert "raw: not read, because the name is not one of BIDS, or its participant or session" in caplog.text
    assert "sub-03_T1w.nii.gz" in caplog.text  # in the folder of sub-02
    assert "sub-02_acq-high-res_T1w.nii.gz" in caplog.text
    two = dataclasses.replace(model_of(), plan=plan_of(channels=("a", "b")))
    with pytest.raises(ConfigError, match="--bids-suffix is T1w T1w: expected each suffix once"):
        predict_tree([two], bids, tmp_path / "out", bids=["T1w", "T1w"])
    other = shutil.copytree(bids, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"describes scans of '\.\./raw', expected '\.\./other'"):
        predict_tree([model_of()], other, tmp_path / "out", bids=["T1w"], resume=True)


def test_channels_and_participants_of_a_bids_dataset(bids, tmp_path, caplog):
    two = model_of()
    two = type(two)(two.network, plan_of(channels=("T1", "FLAIR")), two.device, sha256=two.sha256)
    with pytest.raises(ConfigError, match="the model takes 2 channels"):
        predict_tree([two], bids, tmp_path / "out", bids=["T1w"])
    swapped = dataclasses.replace(two, plan=plan_of(channels=("FLAIR", "T1w")))
    with pytest.raises(ConfigError, match="is T1w FLAIR: the model was trained on FLAIR T1w, in this order"):
        predict_tree([swapped], bids, tmp_path / "out", bids=["T1w", "FLAIR"])
    with pytest.raises(ConfigError, match="is FLAIR T1w: the model was trained on T1 FLAIR, in this order"):
        predict_tree([two], bids, tmp_path / "out", bids=["FLAIR", "T1w"])
    failed = predict_tree([two], bids, tmp_path / "two", bids=["T1w", "FLAIR"])
    assert "the model was trained on" not in caplog.text
    assert sorted(failed) == [
        "sub-01/ses-a/anat/sub-01_ses-a",
        "sub-01/ses-a/anat/sub-01_ses-a_run-2",
        f"sub-02/anat/sub-02_{MASK}",  # the network of this test takes one channel
    ]
    assert "sub-01_ses-a has 1 T1w, 0 FLAIR: expected one file each" in failed["sub-01/ses-a/anat/sub-01_ses-a"]
    assert predict_tree([model_of()], bids, tmp_path / "out", bids=["T1w"], participants=["02"]) == {}
    assert files(tmp_path / "out", "*.nii.gz") == [f"sub-02/anat/sub-02_{MASK}.nii.gz"]


def test_scans_of_a_bids_dataset_may_lack_channels(bids):
    cases, failed = find_bids_scans(bids, ["FLAIR", "T1w"], [], may_miss=True)
    assert failed == {}
    found = {case.id.partition("_space")[0]: case for of_folder in cases.values() for case in of_folder}
    assert {name: case.absent for name, case in found.items()} == {
        "sub-01_ses-a": (0,),
        "sub-01_ses-a_run-2": (0,),
        "sub-02": (),
    }
    assert [path.name for path in found["sub-02"].images] == ["sub-02_FLAIR.nii.gz", "sub-02_T1w.nii.gz"]


def test_what_is_no_bids_dataset_is_refused_and_no_description_is_lost(bids, tmp_path):
    for arguments, text in (
        ({"bids": ["T2w"]}, r"holds no scan sub-\*/\*\*/sub-\*_T2w\.nii\.gz: check --bids-suffix"),
        ({"bids": ["T1w"], "participants": ["01", "sub-7"]}, "has no sub-7: expected a folder of each participant"),
        ({"bids": ["T1w"], "settings": Settings(file_format="own")}, "BIDS masks are NIfTI files"),
    ):
        with pytest.raises(ConfigError, match=text):
            predict_tree([model_of()], bids, tmp_path / "out", **arguments)
    with pytest.raises(
        ConfigError, match=r"dataset_description\.json: describes 'raw', expected 'Segmentations of T1w by"
    ):
        predict_tree([model_of()], bids, bids, bids=["T1w"])
    (bids / "dataset_description.json").unlink()
    with pytest.raises(ConfigError, match="is no BIDS dataset"):
        predict_tree([model_of()], bids, tmp_path / "out", bids=["T1w"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", ["describe_masks", "write_volumes"])
def test_a_part_that_writes_beside_the_masks_holds_its_lock(bids, tmp_path, monkeypatch, step):
    """Another part may otherwise remove the unfinished files."""
    original = getattr(predict_tree_module, step)

    def describe(folder, *arguments):
        with pytest.raises(Busy), folder_lock(folder, patience=0):
            pass
        return original(folder, *arguments)

    monkeypatch.setattr(predict_tree_module, step, describe)
    assert predict_tree([model_of()], bids, tmp_path / "out", bids=["T1w"], part=Part(1, 1)) == {}
