"""Read the volumes of FreeSurfer, .mgz and .mgh, with nibabel."""

import gzip
import math
import warnings
from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.scans.file_type import describe_other_type
from attention_unet.scans.header import Contents, check_affine, check_fits, make_header, reporting_damage
from attention_unet.scans.nifti import GZIP_MAGIC

ENDINGS = (".mgz", ".mgh")
FLAG = 28  # byte of goodRASFlag, two bytes; nibabel sets it in its header
BLOCK = 2**20  # bytes read at once


def read_mgh(path: Path, memory: int | None = None) -> Contents:
    """Read a volume of FreeSurfer. Raise DataError if it is missing, damaged, too large, or has an invalid geometry."""
    try:
        with reporting_damage(path), path.open("rb") as file:
            start = file.read(512)
            packed = start.startswith(GZIP_MAGIC)
            if not packed and (other_type := describe_other_type(start)):
                raise DataError(f"{path}: {other_type}")
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            oriented = any(stream.read(FLAG + 2)[FLAG:])
            stream.seek(0)
            header = MGHHeader.from_fileobj(stream)
            shape, kind = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
            if min(shape) < 1:
                raise ValueError(f"its grid is {shape}")
            if shape[1:3] == (1, 1):
                raise DataError(f"{path}: has a grid of {shape}, like a map on a surface: expected a volume")
            check_fits(path, shape, memory, 4 + kind.itemsize)
            stream.seek(header.get_data_offset())
            expected = math.prod(shape) * kind.itemsize
            if len(content := stream.read(expected)) < expected:
                raise EOFError(f"{len(content)} of {expected} bytes of voxels")
            while stream.read(BLOCK):  # to the end, where gzip verifies the checksum
                pass
    except (MGHError, HeaderDataError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is not a volume of FreeSurfer ({error}): copy or convert it again") from error
    if not oriented:
        warnings.warn(f"{path}: its header has no orientation: coronal slices of 1 mm voxels are assumed", stacklevel=3)
    affine = np.asarray(header.get_affine(), dtype=np.float64)
    check_affine(path, affine)
    stored = np.frombuffer(content, kind).reshape(shape, order="F")
    array: NDArray[np.float32] = stored.reshape(*shape[:3], -1).astype(np.float32)
    return np.moveaxis(array, -1, 0), affine, make_header(affine, (shape[0], shape[1], shape[2]))
