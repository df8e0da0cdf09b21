"""NRRD and MetaImage files: SimpleITK is the judge of positions in space."""

import contextlib
import itertools
import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.errors import DataError
from attention_unet.scans.volume_files import file_ending, list_files
from attention_unet.scans.volumes import read_volume, write_like
from tests.conftest import oblique_affine
from tests.scans.build import STORED
from tests.scans.dicom_files import as_itk


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3)))[::2], ids=str)
def test_every_voxel_lies_where_simpleitk_says(tmp_path, ending, axes):
    affine = oblique_affine(axes=axes, signs=(1, -1, 1))
    sitk.WriteImage(as_itk(STORED, affine), str(tmp_path / f"a{ending}"))
    volume, theirs = read_volume(tmp_path / f"a{ending}"), sitk.ReadImage(str(tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(volume.array[0], STORED)
    for index in itertools.product((0, 4), (1, 3), (0, 5)):
        left, back, up = theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], (-left, -back, up), atol=1e-4)
    write_like(tmp_path / "mask.nii.gz", (STORED > 100).astype(np.uint8), volume)
    mask, written = sitk.ReadImage(str(tmp_path / "mask.nii.gz")), nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.GetDirection(), theirs.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(mask.GetOrigin(), theirs.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    assert (written.get_sform(coded=True)[1], written.get_qform(coded=True)[1]) == (1, 1)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_a_mask_in_the_format_of_its_scan(tmp_path, ending):
    affine = oblique_affine(axes=(2, 0, 1), signs=(1, -1, 1))
    sitk.WriteImage(as_itk(STORED, affine), str(tmp_path / f"a{ending}"))
    volume, theirs = read_volume(tmp_path / f"a{ending}"), sitk.ReadImage(str(tmp_path / f"a{ending}"))
    assert file_ending(tmp_path / f"a{ending}") == ending
    mask = (STORED > 100).astype(np.uint8)
    write_like(tmp_path / f"mask{ending}", mask, volume)
    written = sitk.ReadImage(str(tmp_path / f"mask{ending}"))
    assert written.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), mask.T)
    for method in ("GetOrigin", "GetDirection", "GetSpacing"):
        np.testing.assert_allclose(getattr(written, method)(), getattr(theirs, method)(), atol=1e-6)


def test_channels_and_other_numbers(tmp_path):
    both = sitk.Compose(as_itk(STORED, np.eye(4)), as_itk(STORED + 5, np.eye(4)))
    sitk.WriteImage(both, str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, np.stack([STORED, STORED + 5]))
    sitk.WriteImage(sitk.GetImageFromArray(STORED[0]), str(tmp_path / "flat.mha"))
    with pytest.raises(DataError, match=r"flat\.mha: has 2 axes"):
        read_volume(tmp_path / "flat.mha")


@pytest.mark.parametrize(("space", "known"), [("right-anterior-superior", True), ("scanner-xyz", False), (None, False)])
def test_an_nrrd_that_states_no_orientation_is_warned_of(tmp_path, space, known):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 5 6\nendian: little\nencoding: raw\n"
    head += f"space: {space}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n" if space else "spacings: 1 1 1\n"
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n".encode() + STORED.tobytes(order="F"))
    with contextlib.nullcontext() if known else pytest.warns(UserWarning, match=r"a\.nrrd: its header has no"):
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[0], STORED)


def test_what_takes_more_than_it_may_is_refused_unread(tmp_path):
    sitk.WriteImage(as_itk(STORED, np.eye(4)), str(tmp_path / "a.nrrd"))
    needed = (4 + STORED.itemsize) * STORED.size
    read_volume(tmp_path / "a.nrrd", memory=needed)
    with pytest.raises(DataError, match=r"a\.nrrd: its header has a grid of .* GiB: the limit is "):
        read_volume(tmp_path / "a.nrrd", memory=needed - 1)


@pytest.mark.parametrize(
    ("unit", "mm"), [("cm", 10), ("m", 1000), ("um", 0.001), ("\N{MICRO SIGN}m", 0.001), ("mm", 1), ("", 1)]
)
@pytest.mark.parametrize("field", ["space units", "units", "spaceunits"])
def test_units_of_nrrd(tmp_path, unit, mm, field):
    a, b, units = 1.25 / mm, 2.5 / mm, f'{field}: "{unit}" "{unit}" "{unit}"\n'
    head = "NRRD0005\ntype: short\ndimension: 3\nsizes: 7 5 6\nendian: little\nencoding: raw\n"
    if field == "units":
        head += f"spacings: {a} {a} {b}\n{units}"
    else:
        between = " " if field == "space units" else ""  # both are allowed
        head += f"space: left-posterior-superior\nspace{between}directions: ({a},0,0) (0,{a},0) (0,0,{b})\n"
        head += f"space{between}origin: (0,0,{2 * b})\n{units}"
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n".encode() + STORED.tobytes(order="F"))
    with pytest.warns(UserWarning, match="no orientation") if field == "units" else contextlib.nullcontext():
        volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_allclose(volume.spacing_mm, (1.25, 1.25, 2.5))
    assert volume.affine[2, 3] == pytest.approx(0 if field == "units" else 5)
    np.testing.assert_allclose(volume.header["pixdim"][1:4], (1.25, 1.25, 2.5))


@pytest.mark.parametrize(("unit", "mm"), [("cm", 10), ("um", 0.001), ("mm", 1), ("?", 1)])
def test_units_of_metaimage(tmp_path, unit, mm):
    sitk.WriteImage(as_itk(STORED, np.diag([1.25 / mm, 1.25 / mm, 2.5 / mm, 1])), str(tmp_path / "a.mha"))
    content = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(
        content.replace(b"NDims = 3\n", b"NDims = 3\nDistanceUnits = %s\n" % unit.encode())
    )
    np.testing.assert_allclose(read_volume(tmp_path / "a.mha").spacing_mm, (1.25, 1.25, 2.5), rtol=1e-6)


def test_an_unknown_unit_is_refused(tmp_path):
    head = "NRRD0005\ntype: short\ndimension: 3\nsizes: 7 5 6\nendian: little\nencoding: raw\nspacings: 1 1 1\n"
    for units in ('"furlong" "furlong" "furlong"', '"mm" "cm" "mm"'):
        (tmp_path / "a.nrrd").write_bytes(f"{head}units: {units}\n\n".encode() + STORED.tobytes(order="F"))
        with (
            pytest.warns(UserWarning, match="no orientation"),
            pytest.raises(
                DataError, match=r"a\.nrrd: its header has sizes in (furlong|mm, cm).*: expected mm, cm, m or um"
            ),
        ):
            read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_names_that_are_not_utf8(tmp_path, ending):
    path = tmp_path / os.fsdecode(b"f\xf6lder") / os.fsdecode(b"n\xe4me" + ending.encode())
    path.parent.mkdir()
    sitk.WriteImage(as_itk(STORED, oblique_affine()), str(tmp_path / f"a{ending}"))
    for file in list_files(tmp_path / f"a{ending}"):
        file.rename(path if file.suffix == ending else path.parent / file.name)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], STORED)
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-6)
    mask = path.with_name(f"mask{file_ending(path)}")
    write_like(mask, STORED, volume)
    np.testing.assert_array_equal(read_volume(mask).array[0], STORED)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_names_in_capitals(tmp_path, ending):
    sitk.WriteImage(as_itk(STORED, oblique_affine()), str(tmp_path / f"a{ending}"))
    path = (tmp_path / f"a{ending}").rename(tmp_path / f"A{ending.upper()}")
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], STORED)
    mask = path.with_name(f"mask{file_ending(path)}")
    write_like(mask, STORED, volume)
    np.testing.assert_array_equal(read_volume(mask).array[0], STORED)


def test_an_nrrd_that_simpleitk_refuses_is_reported_without_addresses(tmp_path):
    head = "NRRD0005\ntype: block\nblock size: 2\ndimension: 3\nsizes: 7 5 6\nendian: little\n"
    head += "encoding: raw\nspacings: 1 1 1\n"
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n".encode() + STORED.tobytes(order="F"))
    text = r"a\.nrrd: cannot be read, or is damaged \(ReadImageInformation: Cannot currently handle nrrdTypeBlock\)"
    with pytest.raises(DataError, match=text):
        read_volume(tmp_path / "a.nrrd")


def test_complex_numbers_are_refused(tmp_path):
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkComplexFloat32), str(tmp_path / "a.nrrd"))
    with pytest.raises(DataError, match=r"a\.nrrd: voxels are complex of 32-bit float: expected real numbers"):
        read_volume(tmp_path / "a.nrrd")
