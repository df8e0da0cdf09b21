"""Which scans a path names."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.dataset.cases import Case, find_readable_cases
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.predict_folder import predict_folder
from attention_unet.scans.volumes import read_volume
from tests.conftest import save_nifti
from tests.inference.build import model_of, scan
from tests.scans.dicom_files import save, slice_of, write_slices

SLICE = bytes(128) + b"DICM"


def test_inputs(tmp_path, caplog):
    with pytest.raises(ConfigError, match="nothing: does not exist"):
        find_inputs(tmp_path / "nothing", 1)
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(ConfigError, match="is no folder and no volume"):
        find_inputs(tmp_path / "notes.txt", 1)
    with pytest.raises(ConfigError, match="holds no volume"):
        find_inputs(tmp_path, 1)
    (tmp_path / "patient" / "study" / "T1").mkdir(parents=True)
    (tmp_path / "patient" / "study" / "T1" / "0.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(
        ConfigError, match=r"holds no scan itself, but patient/study/: name one folder, or add --recursive"
    ):
        find_inputs(tmp_path, 1)
    for name in ("p_0000", "p_0001"):
        scan(tmp_path, np.eye(4), f"{name}.nii.gz")
    assert find_inputs(tmp_path, 2) == [Case("p", (tmp_path / "p_0000.nii.gz", tmp_path / "p_0001.nii.gz"))]
    assert "one channel" not in caplog.text
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["p_0000", "p_0001"]
    assert "as channels of one scan do, but the model takes one channel" in caplog.text


def test_what_is_passed_over_is_told(tmp_path, caplog):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    assert caplog.messages == []
    (tmp_path / "series").mkdir()
    (tmp_path / "more" / "deeper").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    for path in ("series/0.dcm", "more/deeper/0.dcm", "slice.dcm"):
        (tmp_path / path).write_bytes(SLICE)
    for name in ("b.img", "b.hdr", "notes/readme.txt"):
        (tmp_path / name).write_text("x")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a", "series"]
    assert caplog.messages == [f"{tmp_path}: not predicted: its own DICOM files, b.hdr, b.img, more/"]
    caplog.clear()
    scan(tmp_path / "series", np.eye(4), "series.nii.gz")  # as dcm2niix writes it: which of both is meant?
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    assert caplog.messages == [f"{tmp_path}: not predicted: its own DICOM files, b.hdr, b.img, more/, series/"]


@pytest.mark.parametrize("levels", ["T1", "study/T1", "study/day/T1", "study/day/series/T1"])
def test_a_series_in_folders_below_is_named(tmp_path, caplog, levels):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    (tmp_path / "patient" / levels).mkdir(parents=True)
    (tmp_path / "patient" / levels / "0.dcm").write_bytes(SLICE)
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    parent = (tmp_path / "patient" / levels).parent.relative_to(tmp_path)
    assert caplog.messages == [f"{tmp_path}: not predicted: {parent}/"]


def test_a_folder_of_packed_slices_is_named(tmp_path, caplog):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "IM0001.gz").write_bytes(gzip.compress(b"a packed slice"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no scan")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    assert caplog.messages == [f"{tmp_path}: not predicted: series/"]


def test_a_series_without_preamble_beside_other_cases_is_a_case(tmp_path):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    (tmp_path / "series").mkdir()
    for k in range(3):
        save(tmp_path / "series" / f"{k}.dcm", slice_of(array, np.eye(4), k), preamble=False)
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a", "series"]


def test_a_series_is_called_after_its_folder_from_wherever_it_is_named(tmp_path, monkeypatch):
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    series = write_slices(tmp_path / "series", [slice_of(array, np.eye(4), k) for k in range(3)])
    (series / "below").mkdir()
    for folder, source in ((series, "."), (series / "below", ".."), (series, "below/.."), (tmp_path, "series/.")):
        monkeypatch.chdir(folder)
        (case,) = find_inputs(Path(source), 1)
        assert case.id == "series"
        assert read_volume(case.images[0]).grid == (5, 4, 3)


def test_a_link_keeps_its_name(tmp_path):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert find_inputs(tmp_path / "link", 1) == [Case("b", (tmp_path / "link" / "b.nii.gz",))]


def test_names_that_become_one_are_refused(tmp_path):
    for names in ((b"n\xe4me.nii.gz", b"n\xf6me.nii.gz"), (b"b.nii.gz", b"b.nii")):
        folder = tmp_path / str(len(names[0]))
        for name in names:
            scan(folder, np.eye(4), os.fsdecode(name))
        with pytest.raises(DataError, match="the case exists twice"):
            find_inputs(folder, 1)


def test_mistakes(tmp_path, capsys):
    (tmp_path / "0.dcm").write_bytes(SLICE)
    with pytest.raises(ConfigError, match=r"0\.dcm: is a file of a DICOM series: name the folder"):
        find_inputs(tmp_path / "0.dcm", 1)
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids" / "dataset_description.json").write_text("{}")
    with pytest.raises(ConfigError, match="bids: is a BIDS dataset: name the suffix of its scans, such as --bids-su"):
        find_inputs(tmp_path / "bids", 1)
    scan(tmp_path / "in", np.eye(4))
    assert predict_folder([model_of()], tmp_path / "in", tmp_path / "masks") == {}
    with pytest.raises(ConfigError, match=r"masks: holds predictions \(run\.json\): name the folder of the scans"):
        predict_folder([model_of()], tmp_path / "masks", tmp_path / "again")
    (tmp_path / "in" / "run.json").write_text('{"of": "another program"}')
    assert [case.id for case in find_inputs(tmp_path / "in", 1)] == ["scan"]
    assert main(["predict", "-i", "a", "-i", "b", "-o", "c", "-m", "hippocampus"]) == 2
    assert "--input is given 2 times: name one scan, or a folder of them" in capsys.readouterr().err


def test_every_file_that_may_be_a_scan_is_named(tmp_path, caplog):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    for name in ("b.nii.bz2", "c.nii.zst", "d.img.gz", "e.gipl", "f.vtk", "g+orig.HEAD", "h.minc", "i.npy", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("a.json", "a.bval", "notes.txt", "picture.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.nii.gz").mkdir()
    os.mkfifo(tmp_path / "pipe.nii.gz")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    (message,) = caplog.messages
    assert message == (f"{tmp_path}: not predicted: b.nii.bz2, c.nii.zst, d.img.gz, e.gipl, f.vtk, and 5 more")


def test_masks_of_3d_slicer_beside_scans_are_no_scans(tmp_path, caplog):
    for name in ("a.nrrd", "a.seg.nrrd", "b.seg.nrrd"):
        (tmp_path / name).write_bytes(b"x")
    assert [case.images for case in find_inputs(tmp_path, 1)] == [(tmp_path / "a.nrrd",)]
    assert f"{tmp_path}: not predicted: a.seg.nrrd, b.seg.nrrd" in caplog.messages
    stored = np.ones((3, 3, 2), np.uint16)
    write_slices(tmp_path / "series", [slice_of(stored, np.eye(4), k) for k in range(2)])
    (tmp_path / "series" / "a.seg.nrrd").write_bytes(b"x")
    assert [case.images for case in find_inputs(tmp_path / "series", 1)] == [(tmp_path / "series",)]


def test_a_file_that_may_not_be_looked_at_fails_alone(tmp_path, monkeypatch):
    """Such as a link into a folder of another user."""
    for name in ("a.nii.gz", "b.nii.gz"):
        scan(tmp_path, np.eye(4), name)
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "b.nii.gz")
    look = os.stat

    def refuse(path, *arguments, **options):
        if str(path).endswith("link.nii.gz") and options.get("follow_symlinks", True):
            raise PermissionError(13, "Permission denied")
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a", "b", "link"]
    assert list(predict_folder([model_of()], tmp_path, tmp_path.parent / "masks")) == ["link"]


def test_links_to_nothing_are_cases_that_fail(tmp_path, cohort, run, capsys):
    """As git-annex and DataLad leave them before the content is fetched; and a link to itself."""
    source = sorted((cohort / "imagesTs").iterdir())[0]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").symlink_to(source)
    (tmp_path / "in" / "b.nii.gz").symlink_to(".git/annex/objects/xx/yy/MD5E-s100.nii.gz")
    (tmp_path / "in" / "c.nii.gz").symlink_to("c.nii.gz")
    assert main(["predict", "-i", f"{tmp_path}/in", "-o", f"{tmp_path}/out", "-m", str(run)]) == 1
    told = capsys.readouterr().err
    assert "1 predicted, 2 failed" in told
    assert "b.nii.gz: is a link to .git/annex/objects/xx/yy/MD5E-s100.nii.gz, which does not exist: fetch" in told
    assert main(["predict", "-i", f"{tmp_path}/in/b.nii.gz", "-o", f"{tmp_path}/other", "-m", str(run)]) == 1


def test_links_to_nothing_in_a_dataset_are_named(tmp_path):
    for folder in ("images", "labels"):
        for name in "ab":
            save_nifti(tmp_path / folder / f"{name}.nii.gz", np.ones((4, 4, 4), np.uint8))
        (tmp_path / folder / "c.nii.gz").symlink_to("../.git/annex/objects/c")
    dataset, problems = find_readable_cases(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert list(problems) == ["c"]
    assert "c.nii.gz: is a link to ../.git/annex/objects/c, which does not exist: fetch" in problems["c"]


@pytest.mark.parametrize("link", [True, False])
def test_a_series_of_which_nothing_is_there_is_named(tmp_path, caplog, link):
    scan(tmp_path, np.eye(4), "a.nii.gz")
    (tmp_path / "series").mkdir()
    for k in range(3):
        file = tmp_path / "series" / f"{k}.dcm"
        file.symlink_to("../.git/annex/objects/x") if link else file.write_bytes(b"")
    assert [case.id for case in find_inputs(tmp_path, 1)] == ["a"]
    assert caplog.messages == [f"{tmp_path}: not predicted: series/"]
