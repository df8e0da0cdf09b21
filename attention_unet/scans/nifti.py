"""Read NIfTI-1 files as a stream, checked to the last byte.

nibabel reads headers and voxels; the checksum of gzip is verified here, which it does not do, and nothing is unpacked
that the header did not announce.
"""

import gzip
import math
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.scans.file_type import mistaken_for
from attention_unet.scans.header import check_affine, check_fits, check_real

ENDINGS = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
GZIP_RATIO = 1032  # the most that deflate can shrink anything
NIFTI2_MAGIC = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # the size of its header, 540, in either byte order
HEADER = nib.Nifti1Header.sizeof_hdr
BLOCK = 2**23  # bytes read at once
LARGEST_OFFSET = 2**26  # bytes of header and extensions
QUATERNION = 3 * np.finfo(np.float32).eps  # by which nibabel lets the square of a quaternion's length exceed 1
SAME_SIZE = 0.01  # largest relative difference of voxel sizes in pixdim and sform
MM = {1: 1000.0, 3: 0.001}  # in a metre and a micrometre, by their codes; all else is taken for millimetres


def read_nifti(
    path: Path, memory: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64], nib.Nifti1Header]:
    """Voxels (C, I, J, K), affine and header of a file.

    Args:
        path: of the file.
        memory: bytes that its voxels may take, most of what is free if None.

    Raises:
        DataError: if the file is missing, damaged, not NIfTI-1, too large, of another number of axes, not of real
            numbers, or without a usable geometry.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            found = _read(path, gzip.GzipFile(fileobj=file) if packed else file, memory)  # type: ignore[arg-type]
            if packed != path.name.lower().endswith(".gz"):
                warnings.warn(f"{path}: is {'' if packed else 'not '}packed by gzip: its name says else", stacklevel=4)
            return found
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged or cut short ({error}): copy it again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}): check the path and your rights"
        ) from error


def voxels_of(
    path: Path, image: nib.Nifti1Image, memory: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64], nib.Nifti1Header]:
    """Voxels (C, I, J, K), affine in millimetres and header of an image.

    Args:
        path: what to call it.
        image: as nibabel gives it.
        memory: bytes that its voxels may take, most of what is free if None.

    Raises:
        DataError: if it is too large, of another number of axes, not of real numbers, or without a usable geometry.
    """
    check_fits(path, image.shape, memory)
    check_real(path, image.get_data_dtype())
    affine = _checked_affine(path, image)
    return _voxels(path, image), affine, image.header


def _read(
    path: Path, stream: BinaryIO, memory: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float64], nib.Nifti1Header]:
    image = _open(path, stream)
    array, affine, header = voxels_of(path, image, memory)
    stream.seek(_announced(image))
    while rest := stream.read(BLOCK // 8):  # to its end, where the checksum is
        if rest.count(0) < len(rest) or stream.tell() > 2 * _announced(image) + BLOCK:
            raise DataError(
                f"{path}: goes on after the {array.size} voxels of its header, which must be wrong: copy it again"
            )
    return array, affine, header


def _open(path: Path, stream: BinaryIO) -> nib.Nifti1Image:
    """Open a file, and check its header and that the file is as long as the header says.

    Raises:
        DataError: if the header is damaged or invalid, or the file too short.
    """
    start = stream.read(HEADER)
    if mistake := mistaken_for(start):
        raise DataError(f"{path}: {mistake}")
    if start[:4] in NIFTI2_MAGIC:
        raise DataError(f"{path}: is NIfTI-2: expected NIfTI-1; convert it")
    try:
        raw = nib.Nifti1Header(start, check=False)  # with the scaling, which nibabel forgets once it has read it
        if not raw["vox_offset"] <= LARGEST_OFFSET:
            raise ValueError(f"voxels from byte {raw['vox_offset']:g} on")
        kind, scaling = int(raw["datatype"]), [float(raw["scl_slope"]), float(raw["scl_inter"])]
        if kind not in nib.nifti1.data_type_codes.code:
            raise DataError(f"{path}: its header says voxels of type {kind}, which NIfTI has not: convert it again")
        if np.isinf(scaling).any() or (scaling[0] and np.isfinite(scaling[0]) and not np.isfinite(scaling[1])):
            raise DataError(f"{path}: its header has slope and intercept {scaling}: expected numbers; repair it")
        rotation = np.array([raw["quatern_b"], raw["quatern_c"], raw["quatern_d"]], dtype=np.float64)
        if raw["qform_code"] > 0 and raw["sform_code"] == 0 and not rotation @ rotation <= 1 + QUATERNION:
            raise DataError(
                f"{path}: its qform is no rotation (a quaternion of length {np.linalg.norm(rotation):.3g}): expected 1 "
                "at most; repair the header, or convert it again"
            )
        stream.seek(0)
        image = nib.Nifti1Image.from_stream(stream)
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: is not a NIfTI file ({error}): copy or convert it again") from error
    zooms = raw["pixdim"][1:4]
    if not (np.isfinite(zooms) & (zooms > 0)).all():
        raise DataError(f"{path}: its header has voxels of {zooms.tolist()} mm: expected sizes above 0; repair it")
    shape = image.shape
    if min(shape, default=0) < 1:
        raise DataError(f"{path}: its header says a grid of {shape}: expected at least one voxel an axis; repair it")
    size, expected = path.stat().st_size, _announced(image)
    if size * (GZIP_RATIO if isinstance(stream, gzip.GzipFile) else 1) < expected:
        raise DataError(f"{path}: has {size} bytes, its header says {expected}: cut short? Copy it again")
    return image


def _announced(image: nib.Nifti1Image) -> int:
    """Bytes of the file, unpacked, by its header."""
    voxels = math.prod(int(n) for n in image.shape)
    return int(image.dataobj.offset) + int(image.get_data_dtype().itemsize) * voxels


def _voxels(path: Path, image: nib.Nifti1Image) -> NDArray[np.float32]:
    """Voxels (C, I, J, K), read a few planes at a time, with the scaling of the header."""
    shape = image.shape
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise DataError(
            f"{path}: has {len(shape)} axes {shape}: expected a 3-D volume or a 4-D one of channels; convert it"
        )
    channels = shape[3] if len(shape) == 4 else 1
    as_in_file = np.empty((channels, *shape[2::-1]), dtype=np.float32)  # where i runs fastest
    array: NDArray[np.float32] = as_in_file.transpose(0, 3, 2, 1)
    planes = max(BLOCK // (image.get_data_dtype().itemsize * shape[0] * shape[1]), 1)
    for channel in range(channels):
        for first in range(0, shape[2], planes):
            place = (..., slice(first, first + planes), *([channel] if len(shape) == 4 else []))
            place += (0,) * (image.ndim - len(shape))
            try:
                # What no float32 holds becomes infinite, and is told as such.
                with np.errstate(over="ignore", invalid="ignore"):
                    array[channel, ..., first : first + planes] = image.dataobj[place]
            except gzip.BadGzipFile:
                raise
            except (ValueError, OSError) as error:
                raise DataError(f"{path}: is damaged or cut short ({error}): copy it again") from error
    return array


def _checked_affine(path: Path, image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return the affine in mm, and warn of what the header leaves open or contradicts itself in.

    Raises:
        DataError: if the affine maps to no volume.
    """
    affine: NDArray[np.float64] = np.array(image.affine, dtype=np.float64)
    affine[:3] *= MM.get(int(image.header["xyzt_units"]) % 8, 1.0)
    check_affine(path, affine)
    sform, sform_code = image.get_sform(coded=True)
    try:
        qform, qform_code = image.get_qform(coded=True)
    except ValueError:  # an invalid quaternion; without an sform the file is refused
        warnings.warn(f"{path}: its qform is no rotation: the sform is used", stacklevel=6)
        return affine
    if sform_code == 0 and qform_code == 0:
        warnings.warn(f"{path}: its header states no orientation (both codes 0): taken as it lies", stacklevel=6)
        return affine
    pixdim, edges = image.header["pixdim"][1:4], np.linalg.norm(image.affine[:3, :3], axis=0)
    if sform_code and not np.allclose(edges, pixdim, rtol=SAME_SIZE, atol=0):
        sizes = [" x ".join(f"{size:.4g}" for size in found) for found in (pixdim, edges)]
        warnings.warn(
            f"{path}: its header has voxels of {sizes[0]} by pixdim, of {sizes[1]} by sform: the sform is used",
            stacklevel=6,
        )
    elif sform is not None and qform is not None and not np.allclose(sform, qform, atol=1e-2):
        warnings.warn(f"{path}: its sform and qform disagree: the sform is used", stacklevel=6)
    return affine
