"""NRRD, MetaImage and DICOM: what lies where is judged by SimpleITK's own word on points, voxel by voxel."""

import contextlib
import gzip
import itertools
import locale

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.data.itk import is_series
from attention_unet.data.itk_files import files_of
from attention_unet.data.volumes import own_ending, read_volume, write_like
from attention_unet.errors import DataError
from tests.conftest import oblique_affine

ARRAY = np.random.RandomState(0).randint(0, 900, size=(7, 5, 6)).astype(np.int16)


def as_itk(array, affine):
    """An image of SimpleITK, which counts to the left and back."""
    image = sitk.GetImageFromArray(array.T)
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps / spacing).ravel().tolist())
    image.SetOrigin((np.diag([-1.0, -1.0, 1.0]) @ affine[:3, 3]).tolist())
    return image


def write_series(folder, image, skip=(), series="1.2.826.0.1.3680043.2.1125.1", shuffled=False, moved=None, tilt=0.0):
    """A DICOM series as a scanner might export it, whose files need not be named in order; a slice may be moved by a
    fifth of its distance, and each lie some voxels beside the one below.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer, as_it_was = sitk.ImageFileWriter(), locale.setlocale(locale.LC_ALL)
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    turned = [direction[i] for i in (0, 3, 6, 1, 4, 7)]
    names = list(range(image.GetSize()[2]))
    if shuffled:
        np.random.RandomState(0).shuffle(names)
    for k, name in enumerate(names):
        if k in skip:
            continue
        plane = image[:, :, k]
        position = image.TransformContinuousIndexToPhysicalPoint((k * tilt, 0, k + 0.2 * (k == moved)))
        for tag, value in {
            "0008|0008": "DERIVED\\SECONDARY",
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0020|000e": series,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0008|0018": f"{series}.{k}",
            "0020|0032": "\\".join(f"{p:.8f}" for p in position),
            "0020|0037": "\\".join(f"{d:.10f}" for d in turned),
            "0020|0013": str(k),
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{name:03d}_{series[-1]}.dcm"))
        writer.Execute(plane)
    locale.setlocale(locale.LC_ALL, as_it_was)  # writing DICOM has set it to C, in which Python reads ASCII only
    return folder


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3)))[::2], ids=str)
def test_every_voxel_lies_where_simpleitk_says(tmp_path, ending, axes):
    affine = oblique_affine(axes=axes, signs=(1, -1, 1))
    sitk.WriteImage(as_itk(ARRAY, affine), str(tmp_path / f"a{ending}"))
    volume, theirs = read_volume(tmp_path / f"a{ending}"), sitk.ReadImage(str(tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    for index in itertools.product((0, 4), (1, 3), (0, 5)):
        left, back, up = theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], (-left, -back, up), atol=1e-4)
    write_like(tmp_path / "mask.nii.gz", (ARRAY > 100).astype(np.uint8), volume)
    mask, written = sitk.ReadImage(str(tmp_path / "mask.nii.gz")), nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.GetDirection(), theirs.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(mask.GetOrigin(), theirs.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    assert (written.get_sform(coded=True)[1], written.get_qform(coded=True)[1]) == (1, 1)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_a_mask_in_the_format_of_its_scan(tmp_path, ending):
    affine = oblique_affine(axes=(2, 0, 1), signs=(1, -1, 1))
    sitk.WriteImage(as_itk(ARRAY, affine), str(tmp_path / f"a{ending}"))
    volume, theirs = read_volume(tmp_path / f"a{ending}"), sitk.ReadImage(str(tmp_path / f"a{ending}"))
    assert own_ending(tmp_path / f"a{ending}") == ending
    mask = (ARRAY > 100).astype(np.uint8)
    write_like(tmp_path / f"mask{ending}", mask, volume)
    written = sitk.ReadImage(str(tmp_path / f"mask{ending}"))
    assert written.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), mask.T)
    for of in ("GetOrigin", "GetDirection", "GetSpacing"):
        np.testing.assert_allclose(getattr(written, of)(), getattr(theirs, of)(), atol=1e-6)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_dicom_series_is_read_in_order(tmp_path, shuffled):
    affine = oblique_affine((0.9, 1.3, 2.5), degrees=20)
    volume = read_volume(write_series(tmp_path / "series", as_itk(ARRAY, affine), shuffled=shuffled))
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert is_series(tmp_path / "series")
    assert not is_series(tmp_path)
    write_like(tmp_path / "mask.nii.gz", ARRAY.astype(np.uint8), volume)
    assert b"Jane" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())


def test_a_series_that_is_no_volume_is_refused(tmp_path):
    image = as_itk(ARRAY, oblique_affine())
    with pytest.raises(
        DataError, match=r"slices lie 2\.50 mm apart, but 001_1\.dcm and 003_1\.dcm 5\.00 mm: is one mi"
    ):
        read_volume(write_series(tmp_path / "gap", image, skip=(2,)))
    twice = write_series(tmp_path / "twice", image)
    (twice / "001_again.dcm").write_bytes((twice / "001_1.dcm").read_bytes())
    with pytest.raises(DataError, match=r"twice: .* 0\.00 mm: is one there twice\?"):
        read_volume(twice)
    moved = write_series(tmp_path / "moved", image, moved=2)
    with pytest.raises(DataError, match=r"moved: .* 3\.00 mm: is one moved\?"):
        read_volume(moved)
    tilted = write_series(tmp_path / "tilted", image, tilt=0.2)
    with pytest.raises(DataError, match=r"tilted: slices lie up to 0\.9 mm beside those below them, as of a tilted"):
        read_volume(tilted)
    cut = write_series(tmp_path / "cut", image)
    last = sorted(cut.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-30])
    with pytest.raises(DataError, match=rf"cut: {last.name} cannot be read, cut short"):
        read_volume(cut)
    write_series(tmp_path / "two", image)
    with pytest.raises(DataError, match="two: holds 2 DICOM series: expected one"):
        read_volume(write_series(tmp_path / "two", image, series="1.2.826.0.1.3680043.2.1125.2"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none: holds 0 DICOM series"):
        read_volume(tmp_path / "none")


def test_channels_and_other_numbers(tmp_path):
    both = sitk.Compose(as_itk(ARRAY, np.eye(4)), as_itk(ARRAY + 5, np.eye(4)))
    sitk.WriteImage(both, str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, np.stack([ARRAY, ARRAY + 5]))
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(tmp_path / "flat.mha"))
    with pytest.raises(DataError, match=r"flat\.mha: has 2 axes"):
        read_volume(tmp_path / "flat.mha")


@pytest.mark.parametrize(("space", "known"), [("right-anterior-superior", True), ("scanner-xyz", False), (None, False)])
def test_an_nrrd_that_states_no_orientation_is_warned_of(tmp_path, space, known):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 5 6\nendian: little\nencoding: raw\n"
    head += f"space: {space}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n" if space else "spacings: 1 1 1\n"
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n".encode() + ARRAY.tobytes(order="F"))
    with contextlib.nullcontext() if known else pytest.warns(UserWarning, match=r"a\.nrrd: its header states no"):
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[0], ARRAY)


def test_what_takes_more_than_it_may_is_refused_unread(tmp_path):
    image = as_itk(ARRAY, np.eye(4))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    series = write_series(tmp_path / "series", image)
    stored = {tmp_path / "a.nrrd": ARRAY.itemsize, series: 2}
    for path, size in stored.items():
        needed = (4 + size) * ARRAY.size
        read_volume(path, memory=needed)
        with pytest.raises(DataError, match=f"{path.name}: its header says a grid of .* GiB to hold; the limit is 0"):
            read_volume(path, memory=needed - 1)


def test_all_files_of_a_series(tmp_path):
    folder = write_series(tmp_path / "series", as_itk(ARRAY, np.eye(4)))
    assert files_of(folder) == sorted(folder.iterdir())
