"""Scans in a tree of folders, and those of BIDS datasets."""

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
from pydicom import dcmread, uid

from attention_unet.errors import ConfigError
from attention_unet.files.lock import Busy, folder_lock
from attention_unet.files.part import Part
from attention_unet.inference import predict_tree as predict_tree_module
from attention_unet.inference.bids import find_bids_scans
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.settings import Settings
from attention_unet.scans.volumes import read_labels
from tests.conftest import save_nifti
from tests.inference.build import model_of, plan_of, scan
from tests.scans.build import slices
from tests.scans.dicom_files import write_slices

MASK = "space-orig_desc-attentionunet_dseg"


def files(folder, pattern="*"):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file())


def test_each_folder_of_scans_has_its_output(tmp_path, caplog):
    caplog.set_level("INFO")
    source = tmp_path / "study"
    _, values = scan(source / "a" / "day 1", np.eye(4), "t1.nii.gz")
    scan(source / "b", np.eye(4), "t1.nii.gz", seed=1)
    write_slices(source / "b" / "series", slices())
    scan(source / ".hidden", np.eye(4))
    (source / "b" / "notes").mkdir()
    (source / "cut.nii.gz").write_bytes(b"cut")
    output = source / "masks"
    failed = predict_tree([model_of()], source, output)
    assert list(failed) == ["cut"]
    assert files(output, "*.nii.gz") == ["a/day 1/t1.nii.gz", "b/series.nii.gz", "b/t1.nii.gz"]
    found = read_labels(output / "a" / "day 1" / "t1.nii.gz").array[0]
    assert ((found == 3) == (values > 1)).mean() > 0.99
    assert "not predicted" not in caplog.text
    assert "folder 2 of 3: a/day 1" in caplog.messages
    caplog.clear()
    shutil.rmtree(output / "b")
    (source / "cut.nii.gz").unlink()
    assert predict_tree([model_of()], source, output, resume=True) == {}
    assert [text for text in caplog.messages if "predicted, 0 failed" in text] == [
        f"0 predicted, 0 failed; output in {output / 'a' / 'day 1'}",
        f"2 predicted, 0 failed; output in {output / 'b'}",
    ]


def test_predictions_are_no_scans_and_a_folder_that_fails_stops_no_other(tmp_path, caplog):
    for name in ("a/t1.nii.gz", "b/t1.nii.gz", "b/t1.nii", "c/t1.nii.gz"):
        scan(tmp_path / "study", np.eye(4), name)
    first = predict_tree([model_of()], tmp_path / "study", tmp_path / "study" / "masks")
    assert list(first) == ["b"]
    assert "the case exists twice" in first["b"]
    (tmp_path / "study" / "b" / "t1.nii").unlink()
    (tmp_path / "second" / "c").mkdir(parents=True)
    (tmp_path / "second" / "c" / "t1.nii.gz").write_bytes(b"of somebody else")
    failed = predict_tree([model_of()], tmp_path / "study", tmp_path / "second")
    assert list(failed) == ["c"]
    assert files(tmp_path / "second", "*.nii.gz") == ["a/t1.nii.gz", "b/t1.nii.gz", "c/t1.nii.gz"]
    assert f"{tmp_path / 'study' / 'masks' / 'a'}: holds predictions: not predicted" in caplog.messages


def test_a_refused_call_is_an_error_and_keeps_the_table(tmp_path):
    for name in ("a/t1.nii.gz", "b/t1.nii.gz"):
        scan(tmp_path / "study", np.eye(4), name)
    output = tmp_path / "out"
    assert predict_tree([model_of()], tmp_path / "study", output) == {}
    table = (output / "volumes.csv").read_text()
    assert table.count("\n") == 5
    with pytest.raises(ConfigError, match=r"out/a: already holds 1 of these predictions.*; all 2 folders are refused"):
        predict_tree([model_of()], tmp_path / "study", output)
    with pytest.raises(ConfigError, match="--missing is x"):
        predict_tree([model_of()], tmp_path / "study", tmp_path / "new", Settings(missing=("x",)))
    other = dataclasses.replace(model_of(), sha256="other")
    with pytest.raises(ConfigError, match="another model"):
        predict_tree([other], tmp_path / "study", output, resume=True)
    assert (output / "volumes.csv").read_text() == table


def test_what_is_not_read_in_a_tree_is_told(tmp_path, caplog):
    source = tmp_path / "study"
    scan(source / "a", np.eye(4), "t1.nii.gz")
    for name in ("b/t1.mnc", "c/series/1.dcm"):
        (source / name).parent.mkdir(parents=True)
        (source / name).touch()
    (source / "c" / "series" / "2").symlink_to("nowhere")
    (source / "d").symlink_to(tmp_path / "elsewhere")
    scan(tmp_path / "elsewhere", np.eye(4), "t1.nii.gz")
    (source / "e").symlink_to(write_slices(tmp_path / "series", slices()))
    assert predict_tree([model_of()], source, tmp_path / "out") == {}
    assert "study: not predicted: b/t1.mnc, c/series/1.dcm, c/series/2, d" in caplog.text
    assert files(tmp_path / "out", "*.nii.gz") == ["a/t1.nii.gz", "e.nii.gz"]


def test_series_and_volumes_in_one_tree(tmp_path):
    write_slices(tmp_path / "study", slices())
    scan(tmp_path / "study" / "mixed", np.eye(4), "t1.nii.gz")
    write_slices(tmp_path / "study" / "mixed", slices()[:1])
    scan(tmp_path / "study" / "series" / "below", np.eye(4), "t2.nii.gz")
    write_slices(tmp_path / "study" / "series", slices())
    assert predict_tree([model_of()], tmp_path / "study", tmp_path / "out") == {}
    found = files(tmp_path / "out", "*.nii.gz")
    assert found == ["mixed/t1.nii.gz", "series.nii.gz", "series/below/t2.nii.gz"]
    alone = write_slices(tmp_path / "alone", slices())
    assert predict_tree([model_of()], alone, tmp_path / "of one") == {}
    assert files(tmp_path / "of one", "*.nii.gz") == ["alone.nii.gz"]


def test_folders_of_segmentations_and_reports_are_no_scans(tmp_path, caplog):
    """As an archive exports a study: a folder for each series."""
    study = tmp_path / "in" / "study"
    write_slices(study / "scan", slices())
    for name, kind in (("masks", uid.SegmentationStorage), ("report", uid.EnhancedSRStorage)):
        write_slices(study / name, slices(lambda k, kind=kind: {"SOPClassUID": kind})[:1])
    report = next((study / "report").iterdir())
    dataset = dcmread(report)
    del dataset.Rows
    dataset.save_as(report)
    write_slices(tmp_path / "in" / "other" / "masks", slices(lambda k: {"SOPClassUID": uid.SegmentationStorage})[:1])
    assert predict_tree([model_of()], tmp_path / "in", tmp_path / "out") == {}
    assert files(tmp_path / "out", "*.nii.gz") == ["study/scan.nii.gz"]
    assert "study: not predicted, as they hold no DICOM image: masks, report" in caplog.text


def test_names_in_another_encoding(tmp_path):
    folder = tmp_path / "study" / "gr\udcfc\udcdf"
    scan(tmp_path / "study" / "a", np.eye(4), "t1.nii.gz")
    shutil.move(tmp_path / "study" / "a", folder)
    assert predict_tree([model_of()], tmp_path / "study", tmp_path / "out") == {}
    assert "gr\ufffd\ufffd/t1,bright" in (tmp_path / "out" / "volumes.csv").read_text()


def test_a_tree_without_scans_is_refused(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds no scan, and no folder below it does"):
        predict_tree([model_of()], tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="is not a folder"):
        predict_tree([model_of()], tmp_path / "nothing", tmp_path / "out")


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


def test_channels_and_participants_of_a_bids_dataset(bids, tmp_path):
    two = model_of()
    two = type(two)(two.network, plan_of(channels=("T1", "FLAIR")), two.device, sha256=two.sha256)
    with pytest.raises(ConfigError, match="the model takes 2 channels"):
        predict_tree([two], bids, tmp_path / "out", bids=["T1w"])
    swapped = dataclasses.replace(two, plan=plan_of(channels=("FLAIR", "T1w")))
    with pytest.raises(ConfigError, match="is T1w FLAIR: the model was trained on FLAIR T1w, in this order"):
        predict_tree([swapped], bids, tmp_path / "out", bids=["T1w", "FLAIR"])
    failed = predict_tree([two], bids, tmp_path / "two", bids=["T1w", "FLAIR"])
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
