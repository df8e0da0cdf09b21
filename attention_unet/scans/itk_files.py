"""The files of an NRRD or MetaImage volume: which they are, and whether all voxels are there and undamaged.

SimpleITK reads many damaged files without an error, and gives wrong voxels.
"""

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attention_unet.errors import DataError
from attention_unet.scans.itk_header import DATA_FILE, TRUE, data_files, read_fields

BLOCK = 2**20  # bytes unpacked at once
ZLIB_OR_GZIP = 47  # as zlib names it
PADDING = b"\0\r\n "  # may follow the voxels


def files_of(path: Path) -> list[Path]:
    """Return all files of a volume: those of a DICOM series, or a header and the file of its voxels."""
    if path.is_dir():
        return [file for file in sorted(path.iterdir()) if file.is_file()]
    return [path, *(file for file in data_files(path) if file.is_file())]


@contextmanager
def with_ascii_names(path: Path) -> Iterator[Path]:
    """Give a path under which SimpleITK can read a volume: it ends the process if a path is not UTF-8.

    Such a volume gets a temporary name: a link, or a copy of the header that names a link to its voxels.
    """
    if _is_utf8(path):
        yield path
    else:
        with tempfile.TemporaryDirectory() as folder:
            readable = Path(folder) / f"volume{path.suffix.lower()}"
            if named := data_files(path):
                (Path(folder) / "voxels").symlink_to(named[0].absolute())
                lines = path.read_bytes().splitlines(keepends=True)
                fields = tuple(field.lower().encode() for field in DATA_FILE)
                at = next(i for i, line in enumerate(lines) if line.lower().lstrip().startswith(fields))
                between = b"=" if b"=" in lines[at] else b":"
                lines[at] = lines[at].partition(between)[0] + between + b" voxels\n"
                readable.write_bytes(b"".join(lines))
            else:
                readable.symlink_to(path.absolute())
            yield readable


@contextmanager
def ascii_folder(folder: Path) -> Iterator[Path]:
    """Give a path under which SimpleITK can write into a folder: it ends the process if a path is not UTF-8."""
    if _is_utf8(folder):
        yield folder
    else:
        with tempfile.TemporaryDirectory() as temporary:
            link = Path(temporary) / "folder"
            link.symlink_to(folder.absolute())
            yield link


def _is_utf8(path: Path) -> bool:
    """Return whether a path can be written as UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_voxels(path: Path, announced: int) -> None:
    """Check that no voxel of a file is missing or damaged: their number, and the checksum of compressed voxels.

    Voxels that are written as text, or follow lines to be skipped, are not checked.

    Args:
        path: path of the file, or of its header.
        announced: bytes of the voxels by the header.

    Raises:
        DataError: if voxels are missing, damaged or too many.
    """
    header, after = read_fields(path)
    packing = _packing_of(header)
    if packing is None or header.get("line skip", "0") != "0":
        return
    named = data_files(path)
    file, found = named[0] if named else path, 0
    skipped = next((header[name] for name in ("byte skip", "HeaderSize") if name in header), "0")
    try:
        with file.open("rb") as opened:
            opened.seek(0 if named else after)
            if skipped == "-1":  # the voxels end the file, whatever comes before
                opened.seek(max(file.stat().st_size - announced, 0))
            elif packing == "raw":
                opened.seek(int(skipped), os.SEEK_CUR)
            else:
                found -= int(skipped)  # of what is unpacked
            for block in _unpacked(opened, packing):
                found += len(block)
                beyond = found - announced
                if beyond > 0 and (beyond > announced + BLOCK or block[-beyond:].strip(PADDING)):
                    raise DataError(f"{file}: goes on after the {announced} bytes of its voxels: copy it again")
    except ValueError as error:
        raise DataError(f"{path}: its header skips {skipped!r} bytes: expected a number; repair it") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: is damaged or cut short ({error}): copy it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}): check the path and your rights") from error
    if found < announced:
        raise DataError(f"{file}: is cut short: holds {found} of {announced} bytes of voxels; copy it again")


def _packing_of(header: dict[str, str]) -> str | None:
    """Return how voxels are packed: raw, gzip, or zlib as in MetaImage; None if they are text, or unknown."""
    if "encoding" in header:
        return {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(header["encoding"].lower())
    if not header.get("BinaryData", "True").startswith(TRUE):
        return None
    return "zlib" if header.get("CompressedData", "False").startswith(TRUE) else "raw"


def _unpacked(file: BinaryIO, packing: str) -> Iterator[bytes]:
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
