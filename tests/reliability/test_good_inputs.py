"""Unusual but valid volumes: each is predicted on its own grid, with a warning if needed."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest

from attention_unet.cli import main
from tests.conftest import oblique_affine
from tests.reliability.build import AFFINE, image_of


def packed(image):
    return gzip.compress(image.to_bytes(), 1)


def nifti(array=None, affine=AFFINE, **codes):
    image = nib.Nifti1Image(image_of("a") if array is None else array, affine)
    image.set_sform(affine, code=codes.get("sform", 1))
    image.set_qform(affine if codes.get("q_affine") is None else codes["q_affine"], code=codes.get("qform", 1))
    return image


def with_holes(value):
    array = image_of("a")
    array[0, 0, :3] = value
    return array


def swapped():
    header = nib.Nifti1Header(endianness=">")
    return nib.Nifti1Image(image_of("a").astype(">f4"), AFFINE, header)


def moved(millimetres):
    other = AFFINE.copy()
    other[:3, 3] += millimetres
    return other


def sheared():
    other = AFFINE.copy()
    other[0, 1] += 0.3
    return other


def with_slope(slope):
    image = nifti()
    content = bytearray(image.to_bytes())
    content[112:116] = np.float32(slope).tobytes()
    return gzip.compress(bytes(content), 1)


GOOD = {  # bytes, and the expected warning
    "7 not packed, named as if": (lambda: nifti().to_bytes(), "is not packed by gzip, unlike its name"),
    "15 big-endian": (lambda: packed(swapped()), None),
    **{
        f"16 {kind}": (lambda kind=kind: packed(nib.Nifti1Image(image_of("a").astype(kind), AFFINE, dtype=kind)), None)
        for kind in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    },
    "17 few voxels that are no numbers": (lambda: packed(nifti(with_holes(np.nan))), "replaced by the smallest value"),
    "18 few infinite voxels": (lambda: packed(nifti(with_holes(-np.inf))), "replaced by the smallest value"),
    "20 the same everywhere": (lambda: packed(nifti(np.full_like(image_of("a"), 7))), "is empty"),
    "21 a slope of 0": (lambda: with_slope(0), None),
    "21 a slope that is no number": (lambda: with_slope(np.nan), None),
    "24 sheared": (lambda: packed(nifti(affine=sheared(), qform=0)), "not at right angles: used as they are"),
    "26 forms that disagree": (lambda: packed(nifti(q_affine=moved(9))), "sform and qform disagree: the sform is used"),
    "27 no orientation": (lambda: packed(nifti(sform=0, qform=0)), "has no orientation"),
    "30 four axes, one volume": (lambda: packed(nib.Nifti1Image(image_of("a")[..., None], AFFINE)), None),
    "30 five axes, one volume": (lambda: packed(nib.Nifti1Image(image_of("a")[..., None, None], AFFINE)), None),
    "34 a single slice": (lambda: packed(nifti(image_of("a")[:, :, :1])), "may fail on such a small part"),
    "34 a single voxel": (lambda: packed(nifti(np.ones((1, 1, 1), dtype=np.float32))), "is empty"),
    "a mask": (lambda: packed(nifti(np.uint8(255) * (image_of("a") > image_of("a").mean()))), "is it a mask"),
    "a label map": (
        lambda: packed(nifti(np.uint8(np.digitize(image_of("a"), np.quantile(image_of("a"), [0.5, 0.7, 0.9]))))),
        "has only the values 0, 1, 2 and 3: is it a mask?",
    ),
    "35 smaller than a patch": (lambda: packed(nifti(image_of("a")[4:9, 4:9, 4:9])), None),
    "37 unusual voxels": (
        lambda: packed(nifti(affine=oblique_affine((1.0, 1.0, 25.0)))),
        "unusual: check size and unit",
    ),
    "37 much coarser voxels": (lambda: packed(nifti(affine=oblique_affine((2.0, 9.0, 2.0)))), "expect a worse mask"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_volume_that_is_odd_but_good(model, tmp_path, capsys, name):
    make, told = GOOD[name]
    scan, out = tmp_path / "a.nii.gz", tmp_path / "out"
    scan.write_bytes(make())
    assert main(["predict", "-i", str(scan), "-o", str(out), "-m", str(model)]) == 0
    text = capsys.readouterr().err
    assert told is None or re.search(rf"warning: {re.escape(str(scan))}: .*{told}", text), text
    made = nib.load(out / "a.nii.gz")
    plain = tmp_path / "plain.nii"
    content = scan.read_bytes()
    plain.write_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    given = nib.load(plain)
    assert made.shape == given.shape[:3]
    np.testing.assert_array_equal(made.affine, given.affine)
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        np.testing.assert_array_equal(made.header[field], given.header[field])


def test_one_volume_of_several(model, tmp_path, capsys):
    both = np.stack([image_of("b"), image_of("a")], axis=-1)
    for name, array in (("one", image_of("a")), ("both", both)):
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii")
    call = ["predict", "-m", str(model)]
    assert main([*call, "-i", str(tmp_path / "one.nii"), "-o", str(tmp_path / "out")]) == 0
    again = [*call, "-i", str(tmp_path / "both.nii"), "-o", str(tmp_path / "both")]
    assert main(again) == 1
    assert "has 2 channels: the model was trained on 1 (T1); take one of them: --channel" in capsys.readouterr().err
    assert main([*again, "--channel", "2"]) == 1
    assert "has 2 channels: there is no channel 2; count from 0" in capsys.readouterr().err
    assert main([*again, "--channel", "-1"]) == 2
    assert main([*again, "--channel", "1"]) == 0
    masks = [
        np.asarray(nib.load(file).dataobj)
        for file in (tmp_path / "both" / "both.nii.gz", tmp_path / "out" / "one.nii.gz")
    ]
    np.testing.assert_array_equal(*masks)
    assert main([*again, "--channel", "0", "--resume"]) == 2  # results would mix
    assert "or other options" in capsys.readouterr().err
