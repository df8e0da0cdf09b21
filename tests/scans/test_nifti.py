"""NIfTI files, good and broken."""

import contextlib
import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.errors import DataError
from attention_unet.scans import header, nifti
from attention_unet.scans.volumes import read_volume, write_like
from tests.conftest import oblique_affine, save_nifti
from tests.scans.test_volumes import ARRAY


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


def test_voxels_of_no_scanner(tmp_path):
    save_nifti(tmp_path / "a.nii.gz", ARRAY, np.diag([1.0, 1.0, 250.0, 1.0]))
    with pytest.raises(DataError, match=r"a\.nii\.gz: its voxels are 1 x 1 x 250 mm: expected 0\.001 to 100 mm"):
        read_volume(tmp_path / "a.nii.gz")


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


def test_plain_nifti_under_a_gzip_name(tmp_path):
    plain = save_nifti(tmp_path / "a.nii", ARRAY)
    plain.rename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array[0], ARRAY)


def broken_files():
    """Return contents and expected messages by the name of a file."""
    plain = nib.Nifti1Image(ARRAY, np.eye(4)).to_bytes()
    good = gzip.compress(plain)
    flipped = bytearray(good)
    flipped[-6] ^= 0xFF
    nan_affine = bytearray(plain)
    nan_affine[280:284] = np.float32(np.nan).tobytes()
    flat = bytearray(plain)
    flat[280:296] = bytes(16)
    endless = bytearray(plain)
    endless[112:116] = np.float32(np.inf).tobytes()
    nifti2 = bytes(nib.Nifti2Image(ARRAY, np.eye(4)).to_bytes())
    unknown_type = bytearray(plain)
    unknown_type[70:72] = np.int16(999).tobytes()
    backwards, off = bytearray(plain), bytearray(plain)
    backwards[84:88] = np.float32(-1).tobytes()
    off[112:120] = np.array([2, np.inf], dtype=np.float32).tobytes()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("good.nii.gz"), io.BytesIO())
    return {
        "longer.nii": (plain + b"1", "has data after the 120 voxels of its header"),
        "longer.nii.gz": (gzip.compress(plain + bytes(9) + b"1"), "has data after the 120 voxels of its header"),
        "backwards.nii": (bytes(backwards), "sizes above 0; repair it"),
        "intercept.nii": (bytes(off), r"slope and intercept \[2.0, inf\]: expected numbers; repair it"),
        "tar.nii.gz": (gzip.compress(tar.getvalue()), "is a tar archive: unpack it"),
        "zip.nii": (b"PK\x03\x04" + bytes(400), "is a zip archive: unpack it"),
        "twice.nii.gz": (gzip.compress(good), "is packed twice by gzip: unpack it once"),
        "pointer.nii.gz": (b"version https://git-lfs.github.com/spec/v1\n", "fetch the file with 'git lfs pull'"),
        "json.nii": (b'{"error": "not found"}', "looks like JSON"),
        "half.nii.gz": (good[: len(good) // 2], "damaged or cut short"),
        "checksum.nii.gz": (bytes(flipped), "damaged or cut short"),
        "half.nii": (plain[:400], "cut short"),
        "empty.nii.gz": (b"", "is empty"),
        "page.nii.gz": (b"<html><body>Sign in</body></html>", "looks like a web page"),
        "page.nrrd": (b"\xef\xbb\xbf\n<html><body>Sign in</body></html>", "looks like a web page"),
        "empty.mha": (b"", "is empty"),
        "noise.nii": (bytes(range(256)) * 4, "is not a NIfTI file"),
        "slope.nii": (bytes(endless), "expected numbers"),
        "nifti2.nii": (nifti2, "is NIfTI-2"),
        "nan.nii": (bytes(nan_affine), "its affine is invalid"),
        "flat.nii": (bytes(flat), "its affine is invalid"),
        "type.nii": (bytes(unknown_type), "unknown data type 999: convert it again"),
    }


BROKEN = broken_files()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_named_with_its_fault(tmp_path, name):
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_volume(tmp_path / name)
    assert name in str(caught.value)


def test_missing_file():
    with pytest.raises(DataError, match=r"no-such\.nii\.gz: cannot be read"):
        read_volume(Path("no-such.nii.gz"))


def test_zeros_after_the_voxels_change_nothing(tmp_path):
    content = save_nifti(tmp_path / "a.nii", ARRAY).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content + bytes(1000)))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array[0], ARRAY)


def test_odd_geometry_is_warned_of(tmp_path):
    sheared = np.array([[1.0, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.warns(UserWarning, match=r"a\.nii: its axes are not at right angles"):
        assert np.allclose(read_volume(save_nifti(tmp_path / "a.nii", ARRAY, sheared)).affine, sheared)
    with pytest.warns(UserWarning, match=r"b\.nii: its voxels are 1 x 1 x 30 mm, which is unusual"):
        read_volume(save_nifti(tmp_path / "b.nii", ARRAY, np.diag([1.0, 1, 30, 1])))


def test_colours_are_refused(tmp_path):
    colours = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii: voxels have several values each, such as colours"):
        read_volume(tmp_path / "a.nii")


def test_two_dimensions_and_complex_numbers_are_refused(tmp_path):
    with pytest.raises(DataError, match="has 2 axes"):
        read_volume(save_nifti(tmp_path / "flat.nii.gz", ARRAY[0]))
    with pytest.raises(DataError, match="complex64: expected real numbers"):
        read_volume(save_nifti(tmp_path / "complex.nii.gz", ARRAY.astype(np.complex64)))


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
