import gzip
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.errors import DataError
from attention_unet.scans.volumes import (
    check_same_grid,
    read_labels,
    read_volume,
    volume_of_array,
    volume_of_image,
    write_like,
)
from tests.conftest import oblique_affine, save_nifti

ARRAY = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


def test_few_holes_are_filled_and_many_refused(tmp_path):
    array = ARRAY.copy()
    array[1, 2, 3] = np.nan
    with pytest.warns(UserWarning, match="1 voxels are NaN"):
        assert read_volume(save_nifti(tmp_path / "a.nii.gz", array)).array[0, 1, 2, 3] == 0
    array[0] = np.inf
    with pytest.raises(DataError, match="31 of 120 voxels are NaN or infinite"):
        read_volume(save_nifti(tmp_path / "a.nii.gz", array))
    few = np.stack([np.full_like(ARRAY, np.nan), *[ARRAY] * 200], axis=-1)  # all of one channel, little of the file
    with pytest.raises(DataError, match="120 of 120 voxels are NaN or infinite"):
        read_volume(save_nifti(tmp_path / "a.nii.gz", few))
    huge = np.full((4, 5, 6), 1e300)
    with pytest.raises(DataError, match="120 of 120 voxels are NaN or infinite"):
        read_volume(save_nifti(tmp_path / "a.nii.gz", huge))


@pytest.mark.parametrize("name", ["series1", "a.nii.gz", "a.png"])
def test_what_does_not_exist_is_said_to_be_missing(tmp_path, name):
    with pytest.raises(DataError, match=f"{name}: cannot be read .No such file or directory.: check the path"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 0, 4), (4, 4, 0)])
def test_an_image_without_voxels_is_refused(shape):
    with pytest.raises(DataError, match=r"has a grid of .*: expected at least one voxel per axis"):
        volume_of_image(nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)))


def test_labels_must_be_whole_and_not_negative(tmp_path):
    with pytest.raises(DataError, match="not whole numbers"):
        read_labels(save_nifti(tmp_path / "a.nii.gz", ARRAY + 0.5))
    with pytest.raises(DataError, match="has the label -3"):
        read_labels(save_nifti(tmp_path / "b.nii.gz", ARRAY - 3))
    for odd in (np.nan, np.inf):
        with pytest.raises(DataError, match="NaN or infinite: expected labels"):
            read_labels(save_nifti(tmp_path / "c.nii.gz", np.where(ARRAY == 7, odd, ARRAY)))
    with pytest.raises(DataError, match="has the label 16777216: expected less"):
        read_labels(save_nifti(tmp_path / "d.nii.gz", np.where(ARRAY == 7, 2**24, ARRAY)))
    close = read_labels(save_nifti(tmp_path / "e.nii.gz", ARRAY - np.float32(0.0005))).array[0]
    assert close.tobytes() == ARRAY.tobytes()


def shifted(mm):
    affine = np.eye(4)
    affine[0, 3] = mm
    return affine


def test_grids_that_differ_are_told_apart(tmp_path):
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", ARRAY))
    moved = read_volume(save_nifti(tmp_path / "b.nii.gz", ARRAY, shifted(0.8)))
    near = read_volume(save_nifti(tmp_path / "c.nii.gz", ARRAY, shifted(0.101)))
    there = read_volume(save_nifti(tmp_path / "e.nii.gz", ARRAY, shifted(0.05)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_same_grid(volume, there)
    smaller = read_volume(save_nifti(tmp_path / "d.nii.gz", ARRAY[1:]))
    with pytest.warns(UserWarning, match=r"is shifted by up to 0\.10 mm against .*: treated as aligned"):
        check_same_grid(volume, near)
    with pytest.raises(DataError, match=r"is shifted by up to 0\.80 mm against .*: copy that of the scan"):
        check_same_grid(moved, volume)
    aside = np.eye(4)
    aside[:3, 3] = 0.4  # 0.69 mm away
    with pytest.raises(DataError, match=r"is shifted by up to 0\.69 mm against"):
        check_same_grid(read_volume(save_nifti(tmp_path / "g.nii.gz", ARRAY, aside)), volume)
    with pytest.raises(DataError, match=r"grid is .*: they must be the same; resample one"):
        check_same_grid(smaller, volume)
    turned = read_volume(save_nifti(tmp_path / "f.nii.gz", ARRAY.transpose(2, 0, 1), np.eye(4)[:, [2, 0, 1, 3]]))
    with pytest.raises(DataError, match="they must be the same; its axes are SRA, the other's RAS: reorder one"):
        check_same_grid(turned, volume)


def test_a_cube_whose_axes_are_swapped_lies_elsewhere(tmp_path):
    cube = np.zeros((6, 6, 6), dtype=np.float32)
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", cube))
    for axes in ([1, 0, 2], [1, 2, 0], [2, 1, 0]):
        swapped = read_volume(save_nifti(tmp_path / "b.nii.gz", cube, np.eye(4)[:, [*axes, 3]]))
        with pytest.raises(DataError, match=r"affines must agree; its axes are .*, the other's RAS: reorder one"):
            check_same_grid(swapped, volume)


def test_holes_take_the_darkest_value_of_their_own_channel(tmp_path):
    array = np.stack([ARRAY + 100, ARRAY - 50], axis=-1)
    array[1, 2, 3, 0] = np.nan
    with pytest.warns(UserWarning, match="1 voxels are NaN"):
        assert read_volume(save_nifti(tmp_path / "a.nii.gz", array)).array[0, 1, 2, 3] == 100


def test_written_volume_has_the_grid_and_codes_of_its_pattern(tmp_path):
    affine = oblique_affine(axes=(1, 2, 0), signs=(1, -1, -1))
    image = nib.Nifti1Image(ARRAY, affine)
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=1)
    image.header["descrip"] = b"Jane Doe"
    image.header.set_slope_inter(3, 7)
    nib.save(image, tmp_path / "scan.nii.gz")
    mask = (ARRAY > 50).astype(np.uint8) * 2
    write_like(tmp_path / "out" / "mask.nii.gz", mask, read_volume(tmp_path / "scan.nii.gz"))

    scan, written = nib.load(tmp_path / "scan.nii.gz"), nib.load(tmp_path / "out" / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)
    raw = nib.Nifti1Header(gzip.decompress((tmp_path / "out" / "mask.nii.gz").read_bytes())[:348], check=False)
    assert (raw["scl_slope"], raw["scl_inter"]) == (1, 0)
    assert written.get_data_dtype() == np.uint8
    for form in ("get_sform", "get_qform"):
        (expected, code), (found, found_code) = getattr(scan, form)(coded=True), getattr(written, form)(coded=True)
        np.testing.assert_array_equal(found, expected)
        assert found_code == code
    assert b"Jane" not in gzip.decompress((tmp_path / "out" / "mask.nii.gz").read_bytes())
    ours, theirs = sitk.ReadImage(str(tmp_path / "out" / "mask.nii.gz")), sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
    assert ours.GetOrigin() == theirs.GetOrigin()
    assert ours.GetDirection() == theirs.GetDirection()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), mask.T)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((5, 4, 6), np.uint8), ValueError, r"the shape \(5, 4, 6\): expected the grid \(4, 5, 6\)"),
        (np.zeros((3, 5, 6), np.uint8), ValueError, "expected the grid"),
        (np.zeros((4, 5), np.uint8), ValueError, "expected the grid"),
        (np.ma.masked_array(np.zeros((4, 5, 6))), TypeError, "of type MaskedArray: expected a numpy array"),
        ([[[0]]], TypeError, "of type list: expected a numpy array"),
        (np.zeros((4, 5, 6), np.complex64), TypeError, "holds complex64: expected integers, booleans, float32"),
        (np.zeros((4, 5, 6), np.float16), TypeError, "holds float16: expected"),
        (np.zeros((4, 5, 6), np.longdouble), TypeError, "holds float128: expected"),
    ],
)
def test_only_what_has_the_grid_of_a_volume_is_written_on_it(tmp_path, array, error, message):
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.float32)))
    for ending in (".nii.gz", ".mha"):
        with pytest.raises(error, match=message):
            write_like(tmp_path / f"b{ending}", array, volume)
    with pytest.raises(ValueError, match=r"the shape \(4, 5, 6, 2\): expected \(I, J, K\) for \.mha"):
        write_like(tmp_path / "b.mha", np.zeros((4, 5, 6, 2), np.float32), volume)
    write_like(tmp_path / "c.nii.gz", np.ones((4, 5, 6), bool), volume)
    assert read_volume(tmp_path / "c.nii.gz").array.sum() == 120
    for ending in (".mhd", ".nhdr", ".mgz", ".NII.GZ"):
        with pytest.raises(DataError, match="cannot be written in this format"):
            write_like(tmp_path / f"d{ending}", np.ones((4, 5, 6), np.uint8), volume)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "c.nii.gz"]


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_numbers_of_the_other_byte_order_are_written(tmp_path, ending):
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", ARRAY))
    write_like(tmp_path / f"b{ending}", ARRAY.astype(">f4"), volume)
    np.testing.assert_array_equal(read_volume(tmp_path / f"b{ending}").array[0], ARRAY)


def test_a_label_map_takes_no_more_memory_than_a_scan(tmp_path):
    path, peaks = save_nifti(tmp_path / "a.nii.gz", np.ones((160, 160, 160), np.uint8)), []
    for read in (read_volume, read_labels):
        tracemalloc.start()
        read(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_numbers_beyond_float32_are_reported_once_and_by_the_name_of_the_file(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full((4, 5, 6), 1e300)), str(tmp_path / "a.nrrd"))
    for read in (
        lambda: read_volume(tmp_path / "a.nrrd"),
        lambda: volume_of_array(np.full((4, 5, 6), 1e300), np.eye(4)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            with pytest.raises(DataError, match="120 of 120 voxels are NaN or infinite"):
                read()
