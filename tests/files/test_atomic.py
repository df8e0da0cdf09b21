import os
import stat
from pathlib import Path
from unittest import mock

import pytest

from attention_unet.errors import DataError
from attention_unet.files.atomic import check_writable, replacing, write_text

opened = os.open


def test_a_file_appears_whole_with_the_usual_rights(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "new")
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE((tmp_path / "deep" / "a.txt").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")

    def fail():
        with replacing(path) as partial:
            assert partial.name.endswith(".nii.gz")
            partial.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", mock.Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"a\.txt: writing failed \(No space left on device\)"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_of_the_greatest_length_is_written_and_a_longer_one_told(tmp_path):
    write_text(tmp_path / f"{'n' * 248}.nii.gz", "new")
    with pytest.raises(DataError, match=r"File name too long.*shorter name"):
        write_text(tmp_path / f"{'n' * 249}.nii.gz", "new")
    assert len(list(tmp_path.iterdir())) == 1


def test_disks_without_rights_and_folders_without_flush_are_no_hindrance(tmp_path, monkeypatch):
    refuse = mock.Mock(side_effect=OSError(1, "Operation not permitted"))
    monkeypatch.setattr(Path, "chmod", refuse)
    monkeypatch.setattr(os, "open", lambda path, *flags: refuse() if path == tmp_path else opened(path, *flags))
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_name_is_on_the_disk_before_anything_goes_on(tmp_path, monkeypatch):
    flushed = []
    original = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (flushed.append(os.readlink(f"/proc/self/fd/{handle}")), original(handle))
    )
    write_text(tmp_path / "a.txt", "new")
    assert ".attention_unet-partial-" in flushed[0]
    assert flushed[1:] == [str(tmp_path)]


def test_a_folder_is_tried_before_the_work(tmp_path):
    check_writable(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        check_writable(tmp_path / "file")


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "new")
