"""The files of an NRRD or MetaImage volume: which files hold its voxels, and whether header and voxels are sound.

SimpleITK reads many damaged files without an error, and gives wrong voxels.
"""

import gzip
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attention_unet.errors import DataError

METAIMAGE = (".mha", ".mhd")
LIST = "LIST"  # SimpleITK takes a data file whose name begins so for a list of files
FOLLOWING = ("", "LOCAL", "Local", "local")  # values of the data file if the voxels follow the header
DATA_FILE = ("ElementDataFile", "data file", "datafile")
LONGEST = 2**16  # bytes of a line of a header
BLOCK = 2**20  # bytes unpacked at once
ZLIB_OR_GZIP = 47  # as zlib names it
META_NEEDS = ("NDims", "DimSize", "ElementType", "ElementDataFile")
META_TYPES = ("CHAR", "SHORT", "INT", "LONG", "LONG_LONG", "FLOAT", "DOUBLE")
META_FLAGS = ("BinaryData", "CompressedData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
META_SIZES = ("ElementSpacing", "ElementSize")
META_VECTORS = (*META_SIZES, "Offset", "Position", "Origin", "CenterOfRotation")
META_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
NRRD_SIZES, NRRD_PLACES = ("spacings", "space directions"), ("space directions", "space origin")
COLOURS = ("RGB", "RGBA", "HSV", "XYZ")
PADDING = b"\0\r\n "  # may follow the voxels
TRUE, FALSE = ("T", "t", "1"), ("F", "f", "0")  # first letters, which are all that MetaIO looks at
MICRO = ("\xb5m", "\xe2\xb5m", "\xee\xbcm")  # the sign of micrometres in Latin-1 and, twice, in UTF-8, read as Latin-1
UNITS_MM = {
    **dict.fromkeys(("", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("um", *MICRO, "micron", "microns", "micrometer", "micrometers"), 0.001),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-6),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}


def files_of(path: Path) -> list[Path]:
    """Return all files of a volume: those of a DICOM series, or a header and the file of its voxels."""
    if path.is_dir():
        return [file for file in sorted(path.iterdir()) if file.is_file()]
    return [path, *(file for file in named_in(path) if file.is_file())]


def named_in(path: Path) -> list[Path]:
    """Return the file that a header names for its voxels. The list is empty if the voxels follow the header, or lie in
    several files.
    """
    if path.suffix.lower() not in (".nhdr", *METAIMAGE) or not path.is_file():
        return []
    name = _voxels_in(_header_of(path)[0])
    if name in FOLLOWING or name.startswith(LIST) or "%" in name:
        return []
    return [path.parent / os.fsdecode(name.encode("latin-1"))]


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
            if named := named_in(path):
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


def unit_mm(path: Path) -> float:
    """Return how many mm the unit of length of a header has. It is mm if the header has no unit.

    Raises:
        DataError: if the unit is unknown, or differs between axes.
    """
    header = _header_of(path)[0]
    if path.suffix.lower() in METAIMAGE:
        units = [header.get("DistanceUnits", "")]
    else:
        text = header.get("space units" if "space directions" in header else "units", "")
        units = re.findall(r'"([^"]*)"', text)[-3:]  # axes of channels come first
    found = {UNITS_MM.get(unit.strip().lower()) for unit in units} or {1.0}
    if len(found) > 1 or None in found:
        raise DataError(f"{path}: its header has sizes in {', '.join(units)}: expected mm, cm, m or um; write it in mm")
    return float(found.pop() or 1.0)


def check_header(path: Path) -> None:
    """Check what SimpleITK ignores, fills in, or complains of without the name of the file: missing and invalid
    fields, voxel sizes, colours, and voxels that lie in many files.

    Raises:
        DataError: if a field is missing or invalid.
    """
    header = _header_of(path)[0]
    is_meta = path.suffix.lower() in METAIMAGE
    if _voxels_in(header).startswith(LIST) or "%" in _voxels_in(header):
        raise DataError(f"{path}: its voxels lie in many files: write them into one volume")
    if is_meta:
        _check_meta_fields(path, header)
    sizes = [header[name] for name in (META_SIZES if is_meta else NRRD_SIZES) if name in header]
    if not sizes:
        raise DataError(f"{path}: its header tells no size of voxels: export it again, with spacing")
    for text in sizes:
        if not is_meta:
            text = _of_space(text, header.get("dimension", ""))
        if "(" not in text and min((n for n in _numbers_in(path, text) if n is not None), default=0.0) <= 0:
            raise DataError(f"{path}: its header has voxels of {text} mm: expected sizes above 0; repair it")
    for name in () if is_meta else NRRD_PLACES:
        _numbers_in(path, header.get(name, ""))
    channels = header.get("ElementNumberOfChannels", "1")
    of_bytes = header.get("ElementType", "").endswith(("_UCHAR", "_CHAR"))
    if (of_bytes and channels in ("3", "4")) or any(f"{kind}-color" in header.get("kinds", "") for kind in COLOURS):
        raise DataError(
            f"{path}: voxels are several values each, such as a colour: expected real numbers; save it in grey"
        )


def _check_meta_fields(path: Path, header: dict[str, str]) -> None:
    """Check the fields of MetaImage. MetaIO reports errors on the terminal only, or goes on with other values.

    Raises:
        DataError: if a field is missing, invalid or before NDims.
    """

    def refuse(name: str, expected: str) -> None:
        raise DataError(
            f"{path}: its header has {name} = {header[name]}: expected {expected}; repair it, or copy it again"
        )

    if "" in header:
        raise DataError(f"{path}: its header has the line {header['']!r}: expected NAME = VALUE; copy it again")
    lacking = [name for name in META_NEEDS if name not in header]
    if lacking:
        raise DataError(f"{path}: its header lacks {', '.join(lacking)}, or is damaged: copy it again")
    if header["NDims"] not in ("2", "3", "4"):
        refuse("NDims", "3")
    axes, before = int(header["NDims"]), list(header)[: list(header).index("NDims")]
    if not re.fullmatch(r"-?\d+(\s+-?\d+)*", header["DimSize"]) or len(header["DimSize"].split()) != axes:
        refuse("DimSize", f"{axes} whole numbers")
    if header["ElementType"] not in {f"MET_{sign}{kind}" for kind in META_TYPES for sign in ("", "U")}:
        refuse("ElementType", "a type of numbers such as MET_SHORT")
    for name in ("ElementNumberOfChannels", "HeaderSize"):
        if not re.fullmatch(r"-?\d+", header.get(name, "1")):
            refuse(name, "a whole number")
    for name in META_FLAGS:
        if not header.get(name, "False").startswith((*TRUE, *FALSE)):
            refuse(name, "True or False")
    for name in (*META_VECTORS, *META_MATRICES):
        if name in header and name in before:
            refuse("NDims", f"it before {name}")
        count = axes**2 if name in META_MATRICES else axes
        if name in header and len(_numbers_in(path, header[name])) != count:
            refuse(name, f"{count} numbers")


def _of_space(spacings: str, dimension: str) -> str:
    """Return the spacings of NRRD without NaN, which stands for an axis of channels: one such axis at most."""
    words = spacings.split()
    known = [word for word in words if word.lower() != "nan"]
    beyond = int(dimension) - 3 if dimension.isdecimal() else 0
    return " ".join(known if len(words) - len(known) <= beyond else words)


def _numbers_in(path: Path, text: str) -> list[float | None]:
    """Return the numbers of a field. A vector that is "none" or NaN becomes None.

    Raises:
        DataError: if a word is not a finite number.
    """
    words = re.sub(r"[(),]", " ", re.sub(r"(?i)\(\s*nan(\s*,\s*nan)*\s*\)", "none", text)).split()
    try:
        numbers = [None if word == "none" else float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise DataError(f"{path}: its header says {text!r}: expected numbers; repair it")
    return numbers


def check_voxels(path: Path, announced: int) -> None:
    """Check that no voxel of a file is missing or damaged: their number, and the checksum of compressed voxels.

    Voxels that are written as text, or follow lines to be skipped, are not checked.

    Args:
        path: path of the file, or of its header.
        announced: bytes of the voxels by the header.

    Raises:
        DataError: if voxels are missing, damaged or too many.
    """
    header, after = _header_of(path)
    packing = _packing_of(header)
    if packing is None or header.get("line skip", "0") != "0":
        return
    named = named_in(path)
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


def _header_of(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and how many bytes it takes.

    Names of NRRD become lower case. The name of a line that is no field is empty.
    """
    is_meta = path.suffix.lower() in METAIMAGE
    between = "=" if is_meta else ":"
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(LONGEST).strip():
            text = line.decode("latin-1")
            if between == ":" and ":=" in text and ": " not in text.partition(":=")[0]:
                continue  # a note, not a field
            name, separator, value = text.partition(between if between in text else ":")
            name = name.strip() if is_meta else name.strip().lower()
            fields[name if separator else ""] = value.strip() if separator else text
            if name == "ElementDataFile":
                break
        return fields, file.tell()


def _voxels_in(header: dict[str, str]) -> str:
    """Return where the voxels lie by the header: the name of a file, or one of FOLLOWING."""
    return next((header[name] for name in DATA_FILE if name in header), "")


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
