"""NIfTI files, good and broken."""

import contextlib
import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.errors import DataError
from attention_unet.scans import header, nifti
from attention_unet.scans.volumes import read_volume, write_like
from tests.conftest import oblique_affine, save_nifti

ARRAY = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
PLAIN = nib.Nifti1Image(ARRAY, np.eye(4)).to_bytes()
INTERCEPT = np.array([2, np.inf], dtype=np.float32).tobytes()


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 3), (4, 5, 6, 1), (4, 5, 6, 2, 1, 1)], ids=str)
def test_read_in_blocks_with_the_scaling_of_the_header(tmp_path, monkeypatch, shape):
    """A block holds two planes. The last block of six planes is then full, and contains one channel only."""
    monkeypatch.setattr(nifti, "BLOCK", 2 * 4 * 5 * 2)
    stored = nib.Nifti1Header(endianness=">")
    stored.set_data_dtype(">i2")
    stored.set_slope_inter(0.5, 3)
    image = nib.Nifti1Image(np.random.RandomState(0).randint(-900, 900, size=shape).astype(">i2"), np.eye(4), stored)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        found = read_volume(tmp_path / name).array
        expected = nib.load(tmp_path / name).get_fdata(dtype=np.float32)
        expected = np.moveaxis(expected.reshape(*shape[:3], -1), -1, 0)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float32


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)])
def test_sizes_in_other_units_are_millimetres(tmp_path, unit, mm):
    """SimpleITK is the judge. The mask keeps the header of its scan."""
    affine = oblique_affine()
    scaled = affine.copy()
    scaled[:3] /= mm
    image = nib.Nifti1Image(ARRAY, scaled)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sitk.ReadImage(tmp_path / "a.nii.gz").GetSpacing(), volume.spacing_mm, rtol=1e-5)
    write_like(tmp_path / "mask.nii.gz", ARRAY.astype(np.uint8), volume)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "a.nii.gz").affine)
    assert mask.header.get_xyzt_units()[0] == unit


def claiming(grid):
    """Return a small file whose header is that of a large volume."""
    header = nib.Nifti1Header()
    header.set_data_shape(grid)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4)


def test_a_header_of_a_volume_that_no_machine_holds(tmp_path):
    """It is refused before anything is allocated, even if the file could unpack to this size."""
    (tmp_path / "a.nii").write_bytes(claiming((30000, 30000, 30000)) + bytes(1000))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(claiming((30000, 30000, 30000)) + bytes(1000)))
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(claiming((30, 30, 30)) + bytes(30**3 + 3 * 2**23)))
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(claiming((300, 30, 30)) + bytes(299 * 30 * 30)))
    tracemalloc.start()
    for name, message in {
        "a.nii": "has 1352 bytes, its header requires 27000000000352: is it cut short",
        "b.nii.gz": "its header requires 27000000000352: is it cut short",
        "c.nii.gz": "has data after the 27000 voxels",
        "d.nii.gz": "damaged or cut short",
    }.items():
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            read_volume(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_a_volume_larger_than_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(header, "free_memory", lambda: 400)
    message = r"a\.nii: its header has a grid of \(4, 5, 6\), which takes 4\.47e-07 GiB: the limit is \S+ GiB; crop"
    with pytest.raises(DataError, match=message):
        read_volume(save_nifti(tmp_path / "a.nii", ARRAY))
    assert read_volume(tmp_path / "a.nii", memory=480).grid == (4, 5, 6)
    with pytest.raises(DataError, match=message):
        read_volume(tmp_path / "a.nii", memory=479)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("longer.nii", PLAIN + b"1", "has data after the 120 voxels of its header"),
        ("half.nii", PLAIN[:400], "cut short"),
        ("intercept.nii", PLAIN[:112] + INTERCEPT + PLAIN[120:], r"slope and intercept \[2.0, inf\]: expected numbers"),
        ("page.nrrd", b"\xef\xbb\xbf\n<html><body>Sign in</body></html>", "looks like a web page"),
        ("empty.mha", b"", "is empty"),
    ],
)
def test_broken_file_is_named_with_its_fault(tmp_path, name, content, message):
    """``tests/reliability`` tries many more."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        read_volume(tmp_path / name)


def test_zeros_after_the_voxels_change_nothing(tmp_path):
    content = save_nifti(tmp_path / "a.nii", ARRAY).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content + bytes(1000)))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array[0], ARRAY)


def test_a_qform_that_is_no_rotation(tmp_path):
    plain = bytearray(gzip.decompress(save_nifti(tmp_path / "a.nii.gz", ARRAY).read_bytes()))
    plain[252:254] = np.int16(1).tobytes()  # qform_code
    plain[256:268] = np.array([0.9, 0.9, 0.9], dtype=np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(plain)
    with pytest.warns(UserWarning, match="its qform is no rotation: the sform is used"):
        assert np.allclose(read_volume(tmp_path / "a.nii").affine, np.eye(4))
    plain[252:256] = np.array([1, 0], dtype=np.int16).tobytes()  # qform_code 1, sform_code 0
    (tmp_path / "b.nii").write_bytes(plain)
    with pytest.raises(DataError, match=r"b\.nii: its qform is no rotation \(a quaternion of length 1\.56\): expe"):
        read_volume(tmp_path / "b.nii")


@pytest.mark.parametrize(("size", "warned"), [(1.005, False), (1.02, True), (0.5, True)])
@pytest.mark.parametrize("qform", [0, 1])
def test_voxel_sizes_in_pixdim_and_sform_that_differ(tmp_path, size, warned, qform):
    image = nib.Nifti1Image(ARRAY, np.diag([size, 1, 1, 1]))
    image.set_qform(image.affine, code=qform)
    content = bytearray(image.to_bytes())
    content[80:84] = np.float32(1).tobytes()  # pixdim[1]
    (tmp_path / "a.nii").write_bytes(content)
    text = rf"a\.nii: its header has voxels of 1 x 1 x 1 in pixdim, of {size} x 1 x 1 in sform: the sform is used"
    with pytest.warns(UserWarning, match=text) if warned else contextlib.nullcontext():
        volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.spacing_mm, (size, 1, 1), rtol=1e-6)


@pytest.mark.parametrize("qform", [0, 1])
def test_an_sform_without_sizes_gets_those_of_pixdim(tmp_path, qform):
    """As in files of ACDC; ITK reads them so."""
    image = nib.Nifti1Image(ARRAY, np.diag([-1.5, -1.5, 10, 1]))
    image.set_qform(image.affine, code=qform)
    content = bytearray(image.to_bytes())
    content[280:328] = np.diag([-1, -1, 1, 1])[:3].astype(np.float32).tobytes()  # srow_x, srow_y, srow_z
    (tmp_path / "a.nii").write_bytes(content)
    text = "of 1.5 x 1.5 x 10 in pixdim, of 1 x 1 x 1 in sform: the sizes in pixdim are used"
    with pytest.warns(UserWarning, match=text):
        volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, np.diag([-1.5, -1.5, 10, 1]))
    write_like(tmp_path / "b.nii", np.ones(ARRAY.shape, np.uint8), volume)
    made, given = nib.load(tmp_path / "b.nii").header, nib.load(tmp_path / "a.nii").header
    for field in ("srow_x", "srow_y", "srow_z", "sform_code", "qform_code", "pixdim"):
        np.testing.assert_array_equal(made[field], given[field])
    with pytest.warns(UserWarning, match="the sizes in pixdim are used"):
        np.testing.assert_array_equal(read_volume(tmp_path / "b.nii").affine, volume.affine)


@pytest.mark.parametrize("magic", [b"n+1", b"ni1"])
def test_a_header_is_not_read_as_voxels(tmp_path, magic):
    image = nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)).to_bytes()
    header = nib.Nifti1Header(image[:348], check=False)
    header["vox_offset"], header["magic"] = 0, magic
    (tmp_path / "a.nii").write_bytes(header.binaryblock + image[348:])
    with pytest.raises(DataError, match=r"a\.nii: is not a NIfTI file \(voxels from byte 0 on\)"):
        read_volume(tmp_path / "a.nii")


def test_forms_that_disagree_in_other_units(tmp_path):
    image = nib.Nifti1Image(ARRAY, np.diag([0.001, 0.001, 0.001, 1]))
    image.header.set_xyzt_units("meter")
    image.set_qform(image.affine, code=1)
    moved = image.affine.copy()
    moved[0, 3] = 0.009
    image.set_sform(moved, code=1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match="sform and qform disagree"):
        read_volume(tmp_path / "a.nii")


def test_voxels_of_a_sheared_grid_are_as_large_as_its_axes_say():
    sheared = np.array([[1.5, 0.4, 0, 3], [0, 2.0, 0, -4], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    made = header.make_header(sheared, (4, 5, 6))
    np.testing.assert_allclose(made.get_zooms(), [1.5, np.hypot(0.4, 2.0), 3.0], rtol=1e-6)
    np.testing.assert_allclose(made.get_sform(), sheared, rtol=1e-6)
    assert made["qform_code"] == 0
