"""The files of an NRRD or MetaImage volume: which hold its voxels, and whether these are all there and undamaged.

SimpleITK reads many a damaged one in silence, with voxels that are wrong.
"""

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from attention_unet.errors import DataError

DETACHED = (".nhdr", ".mhd")  # whose voxels lie in a file beside
METAIMAGE = (".mha", ".mhd")
LIST = "LIST"  # of files; SimpleITK takes a file whose name begins so for one, and gives voxels out of nowhere
LONGEST = 2**16  # bytes of a line of a header
BLOCK = 2**20  # bytes unpacked at once
ZLIB_OR_GZIP = 47  # as zlib names it
META_SIZES, META_PLACES = (
    ("elementspacing", "elementsize"),
    ("offset", "position", "origin", "transformmatrix", "rotation", "orientation"),
)
META_NEEDS = ("ndims", "dimsize", "elementtype", "elementdatafile")
NRRD_SIZES, NRRD_PLACES = ("spacings", "space directions"), ("space directions", "space origin")
COLOURS = ("RGB", "RGBA", "HSV", "XYZ")
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
    return [] if name.upper() in ("", "LOCAL") or name.startswith(LIST) or "%" in name else [path.parent / name]


def check_header(path: Path) -> None:
    """Check what SimpleITK would pass over or fill in: the size of voxels, numbers that are none, colours, and voxels
    that lie in many files.

    Raises:
        DataError: if a header does not tell it, or tells what cannot be.
    """
    header = _header_of(path)[0]
    is_meta = path.suffix.lower() in METAIMAGE
    lacking = [name for name in META_NEEDS if name not in header] if is_meta else []
    sizes_told = header.get("dimsize", "").split()
    if lacking or (is_meta and header["ndims"] != str(len(sizes_told))):
        raise DataError(
            f"{path}: its header lacks {', '.join(lacking) or 'sizes along some axes'}, or is damaged: copy it again"
        )
    if _voxels_in(header).startswith(LIST) or "%" in _voxels_in(header):
        raise DataError(f"{path}: its voxels lie in many files: write them into one volume")
    sizes = [header[name] for name in (META_SIZES if is_meta else NRRD_SIZES) if name in header]
    if not sizes:
        raise DataError(f"{path}: its header tells no size of voxels: export it again, with spacing")
    for text in sizes:
        if not is_meta:
            text = _of_space(text, header.get("dimension", ""))
        if "(" not in text and min((n for n in _numbers_in(path, text) if n is not None), default=0.0) <= 0:
            raise DataError(f"{path}: its header has voxels of {text} mm: expected sizes above 0; repair it")
    for name in META_PLACES if is_meta else NRRD_PLACES:  # of what tells sizes, it has been looked at
        _numbers_in(path, header.get(name, ""))
    components = header.get("elementnumberofchannels", "1")
    of_bytes = header.get("elementtype", "").endswith(("_UCHAR", "_CHAR"))
    if (of_bytes and components in ("3", "4")) or any(f"{kind}-color" in header.get("kinds", "") for kind in COLOURS):
        raise DataError(
            f"{path}: voxels are several values each, such as a colour: expected real numbers; save it in grey"
        )


def _of_space(spacings: str, dimension: str) -> str:
    """Spacings of NRRD without NaN, which stands for axes that are none in space: for those beyond three at most."""
    words = spacings.split()
    known = [word for word in words if word.lower() != "nan"]
    beyond = int(dimension) - 3 if dimension.isdecimal() else 0
    return " ".join(known if len(words) - len(known) <= beyond else words)


def _numbers_in(path: Path, text: str) -> list[float | None]:
    """Numbers of a field, between spaces or as vectors in brackets; None where there is none along an axis."""
    words = re.sub(r"[(),]", " ", re.sub(r"(?i)\(\s*nan(\s*,\s*nan)*\s*\)", "none", text)).split()
    try:
        numbers = [None if word == "none" else float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise DataError(f"{path}: its header says {text!r}: expected numbers; repair it")
    return numbers


def check_voxels(path: Path, announced: int) -> None:
    """Check that the voxels of a file are whole: to the checksum where they are packed, and in number.

    Not checked is what is written as text, or lies after lines to be skipped.

    Args:
        path: of the file, or of the header where that lies apart.
        announced: bytes of the voxels by the header.

    Raises:
        DataError: if they are not.
    """
    header, after = _header_of(path)
    packing = _packing_of(header)
    if packing is None or header.get("line skip", "0") != "0":
        return
    named = named_in(path)
    file, found = named[0] if named else path, 0
    skipped = next((header[name] for name in ("byte skip", "headersize") if name in header), "0")
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


def _header_of(path: Path) -> tuple[dict[str, str], int]:
    """Fields in lower case, and how many bytes they take."""
    between = "=" if path.suffix.lower() in METAIMAGE else ":"
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(LONGEST).strip():
            text = line.decode("latin-1")
            if between == ":" and ":=" in text and ": " not in text.partition(":=")[0]:
                continue  # a note, not a field
            name, _, value = text.partition(between if between in text else ":")
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
