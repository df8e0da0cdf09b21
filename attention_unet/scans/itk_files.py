"""Check the voxels in NRRD and MetaImage files, and give paths that SimpleITK can open.

SimpleITK reads many damaged files without an error, and returns wrong voxels.
"""

import gzip
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attention_unet.errors import DataError
from attention_unet.scans.header import reporting_damage
from attention_unet.scans.itk_header import DATA_FILE, TRUE, data_files, read_fields

BLOCK = 2**20  # bytes unpacked at once
ZLIB_OR_GZIP = 47  # window bits with which zlib detects the format itself
PADDING = b"\0\r\n "  # bytes that may follow the voxels


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
    """Check the number of voxels in a file, and the checksum of compressed voxels.

    Voxels that are written as text, or that follow lines to be skipped, are not checked.

    Raises:
        DataError: if voxels are missing, damaged or too many.
    """
    header, header_bytes = read_fields(path)
    packing = _find_packing(header)
    if packing is None or header.get("line skip", "0") != "0":
        return
    named = data_files(path)
    file, size = named[0] if named else path, 0
    skipped = next((header[name] for name in ("byte skip", "HeaderSize") if name in header), "0")
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
