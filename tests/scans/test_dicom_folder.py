"""Folders of DICOM slices in which files are missing, cut short or of another kind."""

import errno
import gzip
import os
import shutil
from unittest import mock

import pytest
from pydicom import Dataset, uid

from attention_unet.errors import DataError
from attention_unet.scans.volumes import read_volume
from tests.scans.build import AFFINE, STORED, assert_shows, refused, slices
from tests.scans.dicom_files import SERIES, as_itk, save, write_series, write_slices


@pytest.mark.parametrize("size", [0, 100, 300, -30, -71])
def test_a_slice_that_is_cut_short(tmp_path, size):
    cut = write_slices(tmp_path / "cut", slices())
    whole = (cut / "005.dcm").read_bytes()
    (cut / "005.dcm").write_bytes(whole[:size])
    refused(cut, r"005\.dcm cannot be read \(.*\): is it cut short")


def test_objects_without_an_image_are_named_and_left_out(tmp_path):
    folder = write_slices(tmp_path / "a", slices())
    for name, kind in (("report.dcm", uid.EnhancedSRStorage), ("state.dcm", "1.2.840.10008.5.1.4.1.1.11.1")):
        other = Dataset()
        other.SOPClassUID, other.SOPInstanceUID, other.SeriesInstanceUID = kind, f"{SERIES}.9", f"{SERIES}.8"
        save(folder / name, other)
    with pytest.warns(
        UserWarning, match=r"hold no image: report\.dcm \(Enhanced SR\), state\.dcm \(Grayscale Softcopy"
    ):
        volume = read_volume(folder)
    assert_shows(volume, STORED, AFFINE)


def test_a_full_disk_is_reported_as_such(tmp_path, monkeypatch):
    folder = write_slices(tmp_path / "a", slices())
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("tempfile.TemporaryDirectory", mock.Mock(side_effect=full))
    refused(folder, r"000\.dcm: cannot be read \(No space left on device\): check your rights and free space")


def test_slices_that_are_not_there_are_not_left_out_in_silence(tmp_path):
    """Only the files show that the last slices of a series are missing."""
    folder = write_series(tmp_path / "series", as_itk(STORED, AFFINE))
    last = sorted(folder.iterdir())[-1]
    last.unlink()
    last.symlink_to("../.git/annex/objects/x")
    with pytest.raises(DataError, match=rf"{last.name} cannot be read \(a link to a file that does not exist\)"):
        read_volume(folder)
    last.unlink()
    last.with_name(f"{last.name}.gz").write_bytes(gzip.compress(b"a slice"))
    with pytest.raises(DataError, match=rf"{last.name}\.gz cannot be read"):
        read_volume(folder)
    last.with_name(f"{last.name}.gz").rename(folder / "IM0007")
    with pytest.warns(UserWarning, match="series: not read, because they are not DICOM files: IM0007"):
        assert read_volume(folder).array.shape[3] == STORED.shape[2] - 1


def test_slices_without_ending_that_are_cut_short_are_missed(tmp_path):
    folder = write_slices(tmp_path / "a", slices())
    for k, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"IM{k:04d}")
    read_volume(folder)
    (folder / "IM0005").write_bytes(b"")  # the disk of the exporter was full
    refused(folder, r"IM0005: named like its slices, but not DICOM: empty or cut short\?")


def test_a_directory_in_small_letters_is_no_slice(tmp_path):
    """As Linux shows the names of a patient's disc."""
    folder = write_slices(tmp_path / "a", slices())
    shutil.copy(folder / "000.dcm", folder / "dicomdir")
    assert_shows(read_volume(folder), STORED, AFFINE)
