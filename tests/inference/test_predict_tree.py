"""Scans in a tree of folders."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from pydicom import dcmread, uid

from attention_unet.errors import ConfigError
from attention_unet.inference.predict_tree import predict_tree
from attention_unet.inference.settings import Settings
from attention_unet.scans.volumes import read_labels
from tests.inference.build import files, model_of, scan
from tests.scans.build import slices
from tests.scans.dicom_files import write_slices


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
    with pytest.raises(ConfigError, match=r"a: holds predictions \(run\.json\): name the folder of the scans"):
        predict_tree([model_of()], tmp_path / "study" / "masks" / "a", tmp_path / "third")


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


def test_a_folder_that_cannot_be_read_is_told(tmp_path, caplog, monkeypatch):
    source = tmp_path / "study"
    scan(source, np.eye(4), "t1.nii.gz")
    (source / "locked").mkdir()
    listed = os.scandir

    def scandir(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert predict_tree([model_of()], source, tmp_path / "out") == {}
    assert "study: not predicted: locked" in caplog.text


def test_folders_of_segmentations_and_reports_are_no_scans(tmp_path, caplog):
    """As an archive exports a study: a folder for each series."""
    study = tmp_path / "in" / "study"
    write_slices(study / "scan", slices())
    for name, kind in (("masks", uid.SegmentationStorage), ("report", uid.EnhancedSRStorage)):
        write_slices(study / name, slices(lambda k, kind=kind: {"SOPClassUID": kind})[:1])
    label_map = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7",
        "Modality": "SEG",
    }  # pydicom does not know it
    write_slices(study / "label-map", slices(lambda k: label_map)[:1])
    spectra = {"SOPClassUID": uid.MRSpectroscopyStorage, "BitsAllocated": None, "PixelData": None}
    write_slices(study / "spectra", slices(lambda k: spectra)[:1])
    report = next((study / "report").iterdir())
    dataset = dcmread(report)
    del dataset.Rows
    dataset.save_as(report)
    write_slices(tmp_path / "in" / "other" / "masks", slices(lambda k: {"SOPClassUID": uid.SegmentationStorage})[:1])
    assert predict_tree([model_of()], tmp_path / "in", tmp_path / "out") == {}
    assert files(tmp_path / "out", "*.nii.gz") == ["study/scan.nii.gz"]
    assert "study: not predicted, as they hold no DICOM image: label-map, masks, report, spectra" in caplog.text


def test_a_bids_dataset_that_is_predicted_as_any_folder_is_told(tmp_path, caplog):
    scan(tmp_path / "study" / "sub-01" / "anat", np.eye(4), "sub-01_T1w.nii.gz")
    predict_tree([model_of()], tmp_path / "study", tmp_path / "first")
    assert "BIDS" not in caplog.text
    (tmp_path / "study" / "dataset_description.json").write_text("{}")
    predict_tree([model_of()], tmp_path / "study", tmp_path / "second")
    assert "study: is a BIDS dataset: all its volumes are predicted" in caplog.text


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
    for name in ("a.nii", "a.nii.gz"):
        scan(tmp_path / "twice" / "sub", np.eye(4), name)
    with pytest.raises(ConfigError, match="the case exists twice"):
        predict_tree([model_of()], tmp_path / "twice", tmp_path / "out")
