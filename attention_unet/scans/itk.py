"""Read and write NRRD and MetaImage files with SimpleITK, which reads many damaged files without an error.

Positions in SimpleITK are in mm to the left, back and top (LPS+). Affines are in mm to the right, front and top (RAS+).
"""

import gzip
import math
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.scans.file_type import describe_other_type
from attention_unet.scans.header import Contents, check_affine, check_fits, make_header, reporting_damage
from attention_unet.scans.itk_header import DATA_FILE, TRUE, check_header, data_files, read_fields, unit_mm

ENDINGS = (".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
NRRD, SPACE, LPS = (".nrrd", ".nhdr"), "NRRD_space", "left-posterior-superior"  # SimpleITK converts known spaces to LPS
BLOCK = 2**20  # bytes unpacked at once
ZLIB_OR_GZIP = 47  # window bits with which zlib detects the format itself
PADDING = b"\0\r\n "  # bytes that may follow the voxels


def read_itk(path: Path, memory: int | None = None) -> Contents:
    """Read an NRRD or MetaImage file.

    Raise DataError if the file is missing, damaged or too large, or does not hold a 3-D volume of real numbers.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with reporting_damage(path), path.open("rb") as opened:
        start = opened.read(512)
    if other_type := describe_other_type(start):
        raise DataError(f"{path}: {other_type}")
    check_header(path)
    for file in data_files(path):
        if not file.exists():
            raise DataError(f"{file}: does not exist: expected the voxels of {path.name}; copy this file as well")
    with _report_errors(path), with_ascii_names(path) as readable:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(readable))
        reader.ReadImageInformation()
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        if "complex" in kind:
            raise DataError(f"{path}: voxels are {kind}: expected real numbers; save a magnitude image")
        stored_bytes = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID()).GetSizeOfPixelComponent()
        shape = [*reader.GetSize(), reader.GetNumberOfComponents()]
        if min(shape) < 1:
            raise DataError(
                f"{path}: its header has a grid of {reader.GetSize()}: expected at least one voxel per axis; repair it"
            )
        check_fits(path, [n for n in shape if n > 1], memory, 4 + stored_bytes)
        check_voxels(path, math.prod(shape) * stored_bytes)
        if path.suffix.lower() in NRRD and not (reader.HasMetaDataKey(SPACE) and reader.GetMetaData(SPACE) == LPS):
            warnings.warn(f"{path}: its header has no orientation in the patient: used as it is", stacklevel=3)
        image = reader.Execute()
    if image.GetDimension() != 3:
        raise DataError(f"{path}: has {image.GetDimension()} axes {image.GetSize()}: expected a 3-D volume; convert it")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        array = sitk.GetArrayViewFromImage(image).astype(np.float32)
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine[:3] *= unit_mm(path)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    check_affine(path, affine)
    return array.transpose(0, 3, 2, 1), affine, make_header(affine, image.GetSize())


def write_itk(
    path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], fields: Mapping[str, str] | None = None
) -> None:
    """Write voxels (I, J, K), with ``affine`` from voxel (i, j, k) to RAS+ mm, in the format of the path's ending.

    ``fields`` are further fields of the header of an NRRD file. Raise DataError if the file cannot be written,
    ValueError if the array has other axes.
    """
    import SimpleITK as sitk

    if array.ndim != 3:  # SimpleITK would take the first axis for channels
        raise ValueError(f"the array has the shape {array.shape}: expected (I, J, K) for {path.suffix}")
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for name, value in (fields or {}).items():
        image.SetMetaData(name, value)
    try:
        with with_ascii_names(path.parent) as folder:
            sitk.WriteImage(image, f"{folder}/{path.name}", useCompression=True)
    except RuntimeError as error:
        raise DataError(f"{path}: writing failed ({_last_line(error)}): free space or change the folder") from error


@contextmanager
def _report_errors(path: Path) -> Iterator[None]:
    """Report errors of SimpleITK with the path of the file."""
    try:
        yield
    except RuntimeError as error:
        reason = _last_line(error)
        if reason.startswith("Reason: "):  # text of an earlier system error: MetaIO gives no reason
            reason = "SimpleITK cannot read it"
        raise DataError(f"{path}: cannot be read, or is damaged ({reason}): copy it again") from error


def _last_line(error: RuntimeError) -> str:
    """Return the last line of an error of SimpleITK, without the addresses of its objects."""
    line = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ").removeprefix("ITK ERROR: ")
    return re.sub(r"\w+\(0x[0-9a-f]+\): ", "", line)


@contextmanager
def with_ascii_names(path: Path) -> Iterator[Path]:
    """Yield a path from which SimpleITK can read a volume: it ends the process if a path is not UTF-8.

    Such a volume gets a temporary path: a link, or a copy of the header that names a link to its voxels.
    """
    ending = path.suffix if path.is_file() else ""
    if os.fsencode(path).decode("utf-8", "replace") == str(path) and ending == ending.lower():
        yield path
    else:
        with tempfile.TemporaryDirectory() as folder:
            readable = Path(folder) / f"volume{ending.lower()}"
            if named := data_files(path):
                (Path(folder) / "voxels").symlink_to(named[0].absolute())
                lines = path.read_bytes().splitlines(keepends=True)
                fields = tuple(field.lower().encode() for field in DATA_FILE)
                number = next(i for i, line in enumerate(lines) if line.lower().lstrip().startswith(fields))
                lines[number] = re.split(rb"(?<=[=:])", lines[number], maxsplit=1)[0] + b" voxels\n"
                readable.write_bytes(b"".join(lines))
            else:
                readable.symlink_to(path.absolute())
            yield readable


def check_voxels(path: Path, expected: int) -> None:
    """Raise DataError if bytes of voxels are missing or too many, or if the checksum of compressed ones is wrong.

    Voxels are not checked if they are text, follow lines or another header, or are the last of the unpacked bytes.
    """
    header, header_bytes = read_fields(path)
    packing, skipped = _find_packing(header), header.get("byte skip", "0")
    other_header = header.get("line skip", "0") != "0" or header.get("HeaderSize", "0") != "0"
    if packing is None or other_header or (packing, skipped) == ("gzip", "-1"):
        return
    named = data_files(path)
    file, size = named[0] if named else path, 0
    try:
        with reporting_damage(file), file.open("rb") as opened:
            opened.seek(0 if named else header_bytes)
            if skipped == "-1":  # the voxels are at the end of the file
                opened.seek(max(file.stat().st_size - expected, 0))
            elif packing == "raw":
                opened.seek(int(skipped), os.SEEK_CUR)
            else:
                size -= int(skipped)  # skipped bytes are counted after unpacking
            for block in _unpack(opened, packing):
                size += len(block)
                surplus = size - expected
                if surplus > 0 and (surplus > expected + BLOCK or block[-surplus:].strip(PADDING)):
                    raise DataError(f"{file}: has data after the {expected} bytes of its voxels: copy it again")
    except ValueError as error:
        raise DataError(f"{path}: its header skips {skipped!r} bytes: expected a number; repair it") from error
    if size < expected:
        raise DataError(f"{file}: is cut short: holds {size} of {expected} bytes of voxels; copy it again")


def _find_packing(header: dict[str, str]) -> str | None:
    """Return the packing of voxels: "raw", "gzip", or "zlib" in MetaImage. Return None for text and other encodings."""
    if "encoding" in header:
        return {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(header["encoding"].lower())
    if not header.get("BinaryData", "True").startswith(TRUE):
        return None
    return "zlib" if header.get("CompressedData", "False").startswith(TRUE) else "raw"


def _unpack(file: BinaryIO, packing: str) -> Iterator[bytes]:
    """Yield the unpacked bytes of a file in blocks."""
    if packing == "zlib":
        engine = zlib.decompressobj(wbits=ZLIB_OR_GZIP)
        while not engine.eof:
            packed = engine.unconsumed_tail or file.read(BLOCK)
            if not packed:
                raise EOFError("ends within the packed voxels")
            yield engine.decompress(packed, BLOCK)
        return
    stream = gzip.GzipFile(fileobj=file) if packing == "gzip" else file
    while block := stream.read(BLOCK):
        yield block
