"""Volumes with one fault each: the function that writes it, and the expected error."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.reliability.build import AFFINE

Break = Callable[[Path, np.ndarray], None]
DIM, DATATYPE, PIXDIM, SLOPE, SFORM, MAGIC = 40, 70, 76, 112, 280, 344  # byte offsets in the header


def saved(array: np.ndarray, affine: np.ndarray = AFFINE) -> bytes:
    return nib.Nifti1Image(array, affine).to_bytes()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def writes(make: Callable[[np.ndarray], bytes]) -> Break:
    return lambda path, array: (path.write_bytes(make(array)), None)[1]


def patched(at: int, values: bytes) -> Break:
    def make(array: np.ndarray) -> bytes:
        content = bytearray(saved(array))
        content[at : at + len(values)] = values
        return packed(bytes(content))

    return writes(make)


def cut_short(array: np.ndarray) -> bytes:
    whole = packed(saved(array))
    return whole[: len(whole) // 2]


def flipped(array: np.ndarray, place: float) -> bytes:
    whole = bytearray(packed(saved(array)))
    whole[int(place * (len(whole) - 1))] ^= 0x10
    return bytes(whole)


def with_holes(array: np.ndarray, share: float, value: float) -> bytes:
    holed = array.astype(np.float32)
    holed.ravel()[: int(share * holed.size)] = value
    return packed(saved(holed))


def as_tar(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        content = saved(array)
        info = tarfile.TarInfo("a.nii")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def as_zip(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.nii", saved(array))
    return buffer.getvalue()


def colours(array: np.ndarray) -> bytes:
    kind = np.dtype([(name, np.uint8) for name in "RGB"])
    return packed(saved(np.zeros(array.shape, dtype=kind)))


def with_affine(affine: np.ndarray) -> Break:
    return patched(SFORM, affine[:3].astype("<f4").tobytes())


SINGULAR, NAN_AFFINE, HUGE_VOXELS = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
SINGULAR[:3, 1] = SINGULAR[:3, 0]
NAN_AFFINE[0, 0] = np.nan
HUGE_VOXELS[:3, :3] *= 1000

AGAIN = "(?i:copy (or convert )?it again)"
# Faults of any volume, by number in the list of bad inputs.
BROKEN: dict[str, tuple[Break, str]] = {
    "1 cut short": (writes(cut_short), rf"is damaged or cut short .*: {AGAIN}"),
    "3 wrong checksum": (writes(lambda a: flipped(a, 0.9999)), rf"is damaged or cut short .*: {AGAIN}"),
    "3 a flipped bit in the middle": (writes(lambda a: flipped(a, 0.5)), AGAIN),
    "4 empty": (writes(lambda a: b""), f"is empty: {AGAIN}"),
    "5 wrong magic": (patched(MAGIC, b"no!\0"), "is not a NIfTI file .*: copy or convert it again"),
    "6 a web page": (writes(lambda a: b"<!DOCTYPE html><html>Log in</html>"), "a web page: log in and download"),
    "6 JSON": (writes(lambda a: b'{"message": "not found"}'), "looks like JSON: .*check the path"),
    "6 a text": (writes(lambda a: b"hello " * 100), "is not a NIfTI file .*: copy or convert it again"),
    "8 a packed tar": (writes(as_tar), "is a tar archive: unpack it"),
    "8 a zip": (writes(as_zip), "is a zip archive: unpack it"),
    "8 packed twice": (writes(lambda a: packed(packed(saved(a)))), "packed twice by gzip: unpack it once"),
    "9 more in the header than in the file": (
        patched(DIM, struct.pack("<4h", 3, 400, 400, 400)),
        "its header requires .*cut short|is damaged or cut short",
    ),
    "9 more in the file than in the header": (
        patched(DIM, struct.pack("<4h", 3, 4, 4, 4)),
        rf"has data after the 64 voxels of its header.*: {AGAIN}",
    ),
    "10 a header of terabytes": (
        patched(DIM, struct.pack("<4h", 3, 30000, 30000, 30000)),
        f"its header requires .*{AGAIN}|GiB: the limit is .*crop",
    ),
    "11 a negative axis": (patched(DIM, struct.pack("<4h", 3, 18, -20, 14)), "a grid of .*repair it|is not a NIfTI"),
    "11 an axis of nothing": (patched(DIM, struct.pack("<4h", 3, 18, 0, 14)), "a grid of .*repair it"),
    "11 nine axes": (patched(DIM, struct.pack("<h", 9)), "(unknown data type|is not a NIfTI file).*convert it again"),
    "12 an unknown data type": (patched(DATATYPE, struct.pack("<h", 999)), "unknown data type 999: convert"),
    "13 colours": (writes(colours), "several values each, such as colours.*save it in grey"),
    "14 complex": (writes(lambda a: packed(saved(a.astype(np.complex64)))), "real numbers; save a magnitude image"),
    "17 many voxels that are no numbers": (
        writes(lambda a: with_holes(a, 0.2, np.nan)),
        "NaN or infinite.*export it an?ew|NaN or infinite.*export it again",
    ),
    "18 many infinite voxels": (writes(lambda a: with_holes(a, 0.2, np.inf)), "NaN or infinite.*export it a"),
    "19 no voxel is a number": (writes(lambda a: with_holes(a, 1.0, np.nan)), "NaN or infinite.*export it a"),
    "21 an infinite slope": (
        patched(SLOPE, struct.pack("<2f", np.inf, 0)),
        "slope and intercept .*expected numbers; repair it",
    ),
    "22 a singular affine": (with_affine(SINGULAR), "singular.*repair the header"),
    "23 an affine that is no number": (with_affine(NAN_AFFINE), "its affine is invalid.*repair it"),
    "33 two axes": (writes(lambda a: packed(saved(a[..., 0]))), "has 2 axes .*convert it"),
    "36 a voxel size of 0": (patched(PIXDIM + 4, struct.pack("<f", 0)), "expected sizes above 0; repair it"),
    "36 a negative voxel size": (patched(PIXDIM + 8, struct.pack("<f", -2)), "expected sizes above 0; repair it"),
    "36 a voxel size that is no number": (patched(PIXDIM + 4, struct.pack("<f", np.nan)), "sizes above 0; repair it"),
    "37 voxels of metres": (with_affine(HUGE_VOXELS), "expected 0.001 to 100 mm; repair size and unit"),
    "NIfTI-2": (writes(lambda a: packed(nib.Nifti2Image(a, AFFINE).to_bytes())), "is NIfTI-2: .*convert it"),
    "a pointer of Git LFS": (
        writes(lambda a: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
        "pointer of Git LFS.*git lfs pull",
    ),
}
# Faults of label maps.
BROKEN_LABELS: dict[str, tuple[Break, str]] = {
    "40 not whole": (writes(lambda a: packed(saved(a * np.float32(0.7)))), "not whole numbers.*nearest voxel"),
    "42 negative": (writes(lambda a: packed(saved(-a.astype(np.int16)))), "has the label -1.*renumber the labels"),
    "17 a voxel that is no number": (writes(lambda a: with_holes(a, 0.001, np.nan)), "NaN or infinite.*again"),
    "31 two volumes": (writes(lambda a: packed(saved(np.stack([a, a], -1)))), "has 2 channels: expected a label map"),
    "38 another grid": (writes(lambda a: packed(saved(a[1:]))), "grid is .*they must be the same"),
    "39 beside the image": (
        writes(lambda a: packed(saved(a, AFFINE + np.pad([[4.0]], ((0, 3), (3, 0)))))),
        "is shifted by up to 4.00 mm against .*resample one",
    ),
}
# Faults of images.
BROKEN_IMAGES: dict[str, tuple[Break, str]] = {
    "31 two volumes where one is expected": (
        writes(lambda a: packed(saved(np.stack([a, a], -1)))),
        "has 2 channels",
    ),
}
# Faults of label maps for training.
UNKNOWN_LABELS = {
    "41 unknown labels": (writes(lambda a: packed(saved(a * 7))), r"holds the labels \[7\].*dataset.json")
}
