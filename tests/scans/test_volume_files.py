"""Files of volumes: their names, and all files of one volume."""

import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.errors import DataError
from attention_unet.scans.volume_files import list_files, stem, volumes_by_case
from tests.conftest import save_nifti
from tests.scans.build import STORED, slices
from tests.scans.dicom_files import as_itk, write_slices


def test_name_without_ending(tmp_path):
    assert stem(tmp_path / "a.b.nii.gz") == "a.b"
    assert stem(tmp_path / "a.NII") == stem(tmp_path / "a.mha") == "a"
    with pytest.raises(DataError, match="its name is not that of a volume: expected"):
        stem(tmp_path / "a.png")


def test_the_same_case_twice(tmp_path):
    save_nifti(tmp_path / "a.nii", STORED)
    assert list(volumes_by_case(tmp_path)) == ["a"]
    save_nifti(tmp_path / "a.nii.gz", STORED)
    with pytest.raises(DataError, match="the case exists twice"):
        volumes_by_case(tmp_path)


@pytest.mark.parametrize(
    ("ending", "files"),
    [(".mhd", ["a.mhd", "a.raw"]), (".nhdr", ["a.nhdr", "a.raw"]), (".mha", ["a.mha"]), (".nrrd", ["a.nrrd"])],
)
def test_all_files_of_a_volume(tmp_path, ending, files):
    sitk.WriteImage(as_itk(STORED, np.eye(4)), str(tmp_path / f"a{ending}"))
    (tmp_path / "other.raw").write_bytes(b"of another volume")
    assert [path.name for path in list_files(tmp_path / f"a{ending}")] == files


def test_all_files_of_a_series(tmp_path):
    folder = write_slices(tmp_path / "series", slices())
    files = sorted(folder.iterdir())
    (folder / ".DS_Store").touch()  # written by a file browser, not by the scanner
    assert list_files(folder) == files
