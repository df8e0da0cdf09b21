"""Volumes of FreeSurfer, written by nibabel."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from attention_unet.errors import DataError
from attention_unet.scans.volume_files import stem
from attention_unet.scans.volumes import read_labels, read_volume, write_like
from tests.conftest import oblique_affine

AFFINE = oblique_affine((0.9, 1.3, 2.5), degrees=20)
VALUES = np.random.RandomState(0).randint(0, 200, size=(5, 6, 7))


def save(path, values=VALUES, kind=np.uint8, affine=AFFINE):
    nib.MGHImage(values.astype(kind), affine).to_filename(path)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("name", ["orig.mgz", "orig.mgh"])
def test_voxels_and_geometry(tmp_path, name, kind):
    volume = read_volume(save(tmp_path / name, kind=kind))
    np.testing.assert_array_equal(volume.array, VALUES[None])
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert stem(tmp_path / name) == "orig"
    write_like(tmp_path / "mask.nii.gz", VALUES.astype(np.uint8), volume)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii.gz").affine, volume.affine, atol=1e-4)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array[0], VALUES)


def test_the_last_axis_is_of_channels(tmp_path):
    volume = read_volume(save(tmp_path / "two.mgz", np.stack([VALUES, VALUES + 1], axis=-1)))
    np.testing.assert_array_equal(volume.array, [VALUES, VALUES + 1])


def test_a_header_without_orientation_is_reported(tmp_path):
    content = bytearray(save(tmp_path / "a.mgh").read_bytes())
    content[28:30] = b"\0\0"
    (tmp_path / "a.mgh").write_bytes(content)
    with pytest.warns(UserWarning, match=r"a\.mgh: its header has no orientation: coronal slices of 1 mm voxels"):
        read_volume(tmp_path / "a.mgh")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda content: content[:200], "is damaged or cut short"),
        (lambda content: content[:-6] + b"abcdef", "is damaged or cut short .*CRC"),
        (lambda content: b"no gzip" + content, "is not a volume of FreeSurfer"),
        (lambda content: b"/annex/objects/MD5E-s1.mgz", "is a pointer of git-annex"),
        (
            lambda content: gzip.compress(gzip.decompress(content)[:4] + b"\xff" * 8 + gzip.decompress(content)[12:]),
            r"is not a volume of FreeSurfer \(its grid is \(-1, -1",
        ),
        (lambda content: gzip.compress(b"no volume"), "is not a volume of FreeSurfer"),
        (lambda content: gzip.compress(gzip.decompress(content)[:300]), r"cut short \(16 of 210 bytes of voxels\)"),
        (lambda content: gzip.compress(b"\0\0\0\1" + b"\x7f" * 300), "is not a volume of FreeSurfer|takes .* GiB"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage, text):
    file = save(tmp_path / "a.mgz")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=text):
        read_volume(file)


def test_a_packed_file_may_have_either_ending(tmp_path):
    (tmp_path / "a.mgh").write_bytes(save(tmp_path / "b.mgz").read_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mgh").array[0], VALUES)


def test_a_map_on_a_surface_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has a grid of \(200, 1, 1\), like a map on a surface"):
        read_volume(save(tmp_path / "lh.thickness.mgh", np.zeros((200, 1, 1))))


def test_a_file_that_is_too_large_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"which takes .* GiB: the limit is"):
        read_volume(save(tmp_path / "a.mgz"), memory=1000)
