"""The files of an NRRD or MetaImage volume: which hold its voxels, and whether these are all there and undamaged.

SimpleITK reads many a damaged one in silence, with voxels that are wrong.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from attention_unet.errors import DataError

DETACHED = (".nhdr", ".mhd")  # whose voxels lie in a file beside
METAIMAGE = (".mha", ".mhd")
LONGEST = 2**16  # bytes of a line of a header
BLOCK = 2**20  # bytes unpacked at once
ZLIB_OR_GZIP = 47  # as zlib names it
PADDING = b"\0\r\n "  # that may follow the voxels


def files_of(path: Path) -> list[Path]:
    """All files that a volume lies in: those of a series, or a header and the file that it says its voxels are in."""
    if path.is_dir():
        return [file for file in sorted(path.iterdir()) if file.is_file()]
    return [path, *(file for file in named_in(path) if file.is_file())]


def named_in(path: Path) -> list[Path]:
    """The file that a header says its voxels are in; none where they follow it, or it lists or counts several."""
    if path.suffix.lower() not in DETACHED or not path.is_file():
        return []
    name = _voxels_in(_header_of(path)[0])
    return [] if not name or name.startswith(("LOCAL", "LIST")) or "%" in name else [path.parent / name]


def check_voxels(path: Path, announced: int) -> None:
    """Check that the voxels of a file are whole: to the checksum where they are packed, and in number.

    Not checked is what is written as text, lies in many files, or after bytes to be skipped.

    Args:
        path: of the file, or of the header where that lies apart.
        announced: bytes of the voxels by the header.

    Raises:
        DataError: if they are not.
    """
    header, after = _header_of(path)
    packing = _packing_of(header)
    if packing is None or any(header.get(skip, "0") != "0" for skip in ("line skip", "byte skip", "headersize")):
        return
    named = named_in(path)
    if not named and _voxels_in(header) not in ("", "LOCAL"):
        return
    file, found = named[0] if named else path, 0
    try:
        with file.open("rb") as opened:
            opened.seek(0 if named else after)
            for block in _unpacked(opened, packing):
                found += len(block)
                beyond = found - announced
                if beyond > 0 and (beyond > announced + BLOCK or block[-beyond:].strip(PADDING)):
                    raise DataError(f"{file}: goes on after the {announced} bytes of its voxels: copy it again")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: is damaged or cut short ({error}): copy it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}): check the path and your rights") from error
    if found < announced:
        raise DataError(f"{file}: is cut short: holds {found} of {announced} bytes of voxels; copy it again")


def _header_of(path: Path) -> tuple[dict[str, str], int]:
    """Fields in lower case, and how many bytes they take."""
    between = "=" if path.suffix.lower() in METAIMAGE else ":"
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(LONGEST).strip():
            name, _, value = line.decode("latin-1").partition(between)
            fields[name.strip().lower()] = value.strip()
            if name.strip().lower() == "elementdatafile":
                break
        return fields, file.tell()


def _voxels_in(header: dict[str, str]) -> str:
    return next((header[name] for name in ("elementdatafile", "data file", "datafile") if name in header), "")


def _packing_of(header: dict[str, str]) -> str | None:
    """How voxels are packed: raw, gzip, or zlib as MetaImage does it; None if they are text, or unknown."""
    if "encoding" in header:
        return {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(header["encoding"].lower())
    if header.get("binarydata", "True").lower() != "true":
        return None
    return "zlib" if header.get("compresseddata", "False").lower() == "true" else "raw"


def _unpacked(file: BinaryIO, packing: str) -> Iterator[bytes]:
    """One block after another."""
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
