"""Read NIfTI-1 files as streams, and check them to the last byte; write them.

nibabel reads headers and voxels, but does not verify the checksum of gzip. This module does. It also stops
unpacking a file that is much longer than its header requires.
"""

import gzip
import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from attention_unet.errors import DataError, times
from attention_unet.scans.file_type import describe_other_type
from attention_unet.scans.header import Contents, check_affine, check_fits, check_real, reporting_damage

ENDINGS = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
GZIP_RATIO = 1032  # highest compression of deflate
NIFTI2_MAGIC = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # size of its header, 540, in both byte orders
HEADER = nib.Nifti1Header.sizeof_hdr
BLOCK = 2**23  # bytes read at once
FIRST_VOXEL = HEADER + 4  # bytes before the voxels, at least
LARGEST_OFFSET = 2**26  # bytes of header and extensions
QUATERNION_TOLERANCE = 3 * np.finfo(np.float32).eps  # of nibabel: the square of the length may be larger than 1 by this
SAME_SIZE = 0.01  # largest relative difference of voxel sizes in pixdim and sform
UNIT_MM = {1: 1000.0, 3: 0.001}  # mm per unit, by the codes of metre and micrometre; other codes are treated as mm


def read_nifti(path: Path, memory: int | None = None) -> Contents:
    """Read a NIfTI-1 file.

    Raise DataError if it is missing, damaged, not NIfTI-1 or too large, does not have 3 or 4 axes of real numbers, or
    has an invalid geometry.
    """
    with reporting_damage(path), path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file) if packed else file)
        image = _open(path, stream)
        array, affine, header = read_image(path, image, memory)
        expected = _expected_bytes(image)
        stream.seek(expected)
        while rest := stream.read(BLOCK // 8):  # to the end, where gzip verifies the checksum
            if rest.count(0) < len(rest) or stream.tell() > 2 * expected + BLOCK:
                raise DataError(f"{path}: has data after the {array.size} voxels of its header: copy it again")
        if packed != path.name.lower().endswith(".gz"):
            warnings.warn(f"{path}: is {'' if packed else 'not '}packed by gzip, unlike its name", stacklevel=4)
    return array, affine, header


def read_image(path: Path, image: nib.Nifti1Image, memory: int | None = None) -> Contents:
    """Read voxels (C, I, J, K), affine from voxel (i, j, k) to RAS+ mm, and header of an image.

    Further axes of one voxel are dropped. Raise DataError if the image is empty or too large, does not have 3 or 4 axes
    of real numbers, or has an invalid geometry; EOFError, OSError or zlib.error if it is damaged or cannot be read.
    """
    if min(image.shape, default=0) < 1:
        found = f"its header has a grid of {image.shape}"
        raise DataError(f"{path}: {found}: expected at least one voxel per axis; repair it")
    check_fits(path, image.shape, memory)
    check_real(path, image.get_data_dtype())
    affine = _checked_affine(path, image)
    return _read_voxels(path, image), affine, image.header


def _open(path: Path, stream: BinaryIO) -> nib.Nifti1Image:
    """Open a file, check its header, and check that the file is as long as the header requires."""
    start = stream.read(HEADER)
    if other_type := describe_other_type(start):
        raise DataError(f"{path}: {other_type}")
    if start[:4] in NIFTI2_MAGIC:
        raise DataError(f"{path}: is NIfTI-2: expected NIfTI-1; convert it")
    try:
        raw = nib.Nifti1Header(start, check=False)  # with the scaling, which nibabel clears on reading
        if not FIRST_VOXEL <= raw["vox_offset"] <= LARGEST_OFFSET:
            raise ValueError(f"voxels from byte {raw['vox_offset']:g} on")
        kind, scaling = int(raw["datatype"]), [float(raw["scl_slope"]), float(raw["scl_inter"])]
        if kind not in nib.nifti1.data_type_codes.code:
            raise DataError(f"{path}: its header has the unknown data type {kind}: convert it again")
        if np.isinf(scaling).any() or (scaling[0] and np.isfinite(scaling[0]) and not np.isfinite(scaling[1])):
            raise DataError(f"{path}: its header has slope and intercept {scaling}: expected numbers; repair it")
        rotation = np.array([raw["quatern_b"], raw["quatern_c"], raw["quatern_d"]], dtype=np.float64)
        if raw["qform_code"] > 0 and raw["sform_code"] == 0 and not rotation @ rotation <= 1 + QUATERNION_TOLERANCE:
            raise DataError(
                f"{path}: its qform is no rotation (a quaternion of length {np.linalg.norm(rotation):.3g}): expected "
                "at most 1; repair the header, or convert it again"
            )
        stream.seek(0)
        image = nib.Nifti1Image.from_stream(stream)
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: is not a NIfTI file ({error}): copy or convert it again") from error
    zooms = raw["pixdim"][1:4]
    if not (np.isfinite(zooms) & (zooms > 0)).all():
        raise DataError(f"{path}: its header has voxels of {zooms.tolist()} mm: expected sizes above 0; repair it")
    size, expected = path.stat().st_size, _expected_bytes(image)
    if size * (GZIP_RATIO if isinstance(stream, gzip.GzipFile) else 1) < expected:
        raise DataError(f"{path}: has {size} bytes, its header requires {expected}: is it cut short? Copy it again")
    return image


def _expected_bytes(image: nib.Nifti1Image) -> int:
    """Return the size of the unpacked file that its header requires."""
    voxels = math.prod(int(n) for n in image.shape)
    return int(image.dataobj.offset) + int(image.get_data_dtype().itemsize) * voxels


def _read_voxels(path: Path, image: nib.Nifti1Image) -> NDArray[np.float32]:
    """Return voxels (C, I, J, K) with the scaling of the header. Read them some planes at a time."""
    shape = image.shape
    if len(shape) < 3 or math.prod(shape[4:]) > 1:
        raise DataError(
            f"{path}: has {len(shape)} axes {shape}: expected a 3-D volume, or a 4-D one with channels; convert it"
        )
    channels = shape[3] if len(shape) > 3 else 1
    as_in_file = np.empty((channels, *shape[2::-1]), dtype=np.float32)  # i varies fastest
    array: NDArray[np.float32] = as_in_file.transpose(0, 3, 2, 1)
    planes = max(BLOCK // (image.get_data_dtype().itemsize * shape[0] * shape[1]), 1)
    for channel in range(channels):
        for first in range(0, shape[2], planes):
            index = (slice(None), slice(None), slice(first, first + planes), channel, 0, 0, 0)[: len(shape)]
            try:
                # Values outside of float32 become infinite, and are reported as infinite.
                with np.errstate(over="ignore", invalid="ignore"):
                    array[channel, ..., first : first + planes] = image.dataobj[index]
            except ValueError as error:
                raise DataError(f"{path}: is damaged or cut short ({error}): copy it again") from error
    return array


def _checked_affine(path: Path, image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the affine in mm. Warn if the header has no orientation or contradicts itself."""
    affine: NDArray[np.float64] = np.array(image.affine, dtype=np.float64)
    unit = UNIT_MM.get(int(image.header["xyzt_units"]) % 8, 1.0)
    sform, sform_code = image.get_sform(coded=True)
    pixdim = image.header["pixdim"][1:4].astype(np.float64)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    differ = bool(sform_code) and not np.allclose(edges, pixdim, rtol=SAME_SIZE, atol=0)
    unscaled = differ and np.allclose(edges, 1.0, rtol=1e-3, atol=0)  # directions alone, as in files of ACDC
    if unscaled:
        affine[:3, :3] *= pixdim / edges
    affine[:3] *= unit
    check_affine(path, affine)
    try:
        qform, qform_code = image.get_qform(coded=True)
    except ValueError:  # an invalid quaternion; without an sform the file is refused
        warnings.warn(f"{path}: its qform is no rotation: the sform is used", stacklevel=6)
        return affine
    if sform_code == 0 and qform_code == 0:
        warnings.warn(f"{path}: its header has no orientation (both codes are 0): used as it is", stacklevel=6)
        return affine
    if differ:
        sizes = [times(vector, ".4g") for vector in (pixdim, edges)]
        used = "the sizes in pixdim are" if unscaled else "the sform is"
        warnings.warn(
            f"{path}: its header has voxels of {sizes[0]} in pixdim, of {sizes[1]} in sform: {used} used", stacklevel=6
        )
    elif sform is not None and qform is not None and not np.allclose(sform, qform, atol=1e-2 / unit):
        warnings.warn(f"{path}: its sform and qform disagree: the sform is used", stacklevel=6)
    return affine


def write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write an image as ``nib.save`` does. A failure closes the file, too: otherwise Python 3.13 prints a traceback."""
    opener = ImageOpener(path, "wb")
    try:
        image.to_file_map({"image": nib.FileHolder(fileobj=opener)})
        opener.close()
    except OSError:
        with suppress(OSError):
            opener.close()
        raise
