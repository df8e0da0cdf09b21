"""Read and check the headers of NRRD and MetaImage files.

SimpleITK ignores or replaces many missing and invalid fields without an error.
"""

import math
import os
import re
from pathlib import Path

from attention_unet.errors import DataError

METAIMAGE = (".mha", ".mhd")
LIST = "LIST"  # SimpleITK reads a data file whose name starts with this word as a list of files
FOLLOWING = ("", "LOCAL", "Local", "local")  # names of the data file if the voxels follow the header
DATA_FILE = ("ElementDataFile", "data file", "datafile")
SPACES = " \t\r\n\v\f"  # white space in C; Python strips more
MAX_LINE = 2**16  # bytes of a line of a header
SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue)")  # fields of 3D Slicer
META_NEEDS = ("NDims", "DimSize", "ElementType", "ElementDataFile")
META_INTEGERS = ("CHAR", "SHORT", "INT", "LONG", "LONG_LONG")
META_TYPES = ("FLOAT", "DOUBLE", *META_INTEGERS, *(f"U{kind}" for kind in META_INTEGERS))
META_FLAGS = ("BinaryData", "CompressedData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
META_SCALING = {"ElementToIntensityFunctionSlope": 1.0, "ElementToIntensityFunctionOffset": 0.0}
META_SIZES = ("ElementSpacing", "ElementSize")
META_VECTORS = (*META_SIZES, "Offset", "Position", "Origin", "CenterOfRotation")
META_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
NRRD_SIZES, NRRD_VECTORS = ("spacings", "space directions"), ("space directions", "space origin")
SPACED = {  # names of NRRD fields that may be written without their space
    name.replace(" ", ""): name
    for name in ("byte skip", "line skip", "space units", "space directions", "space origin", "space dimension")
}
COLOURS = re.compile(r"(?i)color|\b(rgba?|hsv|xyz)\b")
TRUE, FALSE = ("T", "t", "1"), ("F", "f", "0")  # first letters: MetaIO reads no more
# Micrometres in Latin-1, and with both characters of UTF-8, decoded as Latin-1 and in lower case.
MICRO = ("\xb5m", "\xe2\xb5m", "\xee\xbcm")
UNITS_MM = {
    **dict.fromkeys(("", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("um", *MICRO, "micron", "microns", "micrometer", "micrometers"), 0.001),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-6),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}


def segment_names(path: Path) -> dict[int, str]:
    """Return the names of the segments in a ``.seg.nrrd`` file of 3D Slicer, by their integers."""
    parts: dict[str, dict[str, str]] = {}
    if path.name.lower().endswith(".seg.nrrd"):
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE).strip():
                name, _, value = line.decode("utf-8", "replace").partition(":=")
                if found := SEGMENT.fullmatch(name):
                    parts.setdefault(found[1], {})[found[2]] = value.strip()
    known = [each for each in parts.values() if "Name" in each and each.get("LabelValue", "").isdecimal()]
    return {int(each["LabelValue"]): each["Name"] for each in known}


def data_files(path: Path) -> list[Path]:
    """Return a list of the file that a header names for its voxels.

    The list is empty if the voxels follow the header, or are in several files, or the header cannot be read.
    """
    if path.suffix.lower() not in (".nrrd", ".nhdr", *METAIMAGE) or not os.path.isfile(path):
        return []
    try:
        name = _data_file_name(read_fields(path)[0])
    except OSError:  # reading the volume fails, too, with the reason
        return []
    if name in FOLLOWING or name.startswith(LIST) or "%" in name:
        return []
    return [path.parent / os.fsdecode(name.encode("latin-1"))]


def unit_mm(path: Path) -> float:
    """Return the length unit of a header in mm, by default 1. Raise DataError if it is unknown, or axes differ."""
    header = read_fields(path)[0]
    if path.suffix.lower() in METAIMAGE:
        units = [header.get("DistanceUnits", "")]
    else:
        text = header.get("space units" if "space directions" in header else "units", "")
        units = re.findall(r'"([^"]*)"', text)[-3:]  # the axis of channels comes first
    sizes = {UNITS_MM.get(unit.strip().lower()) for unit in units} or {1.0}
    if len(sizes) > 1 or None in sizes:
        raise DataError(f"{path}: its header has sizes in {', '.join(units)}: expected mm, cm, m or um; write it in mm")
    return float(sizes.pop() or 1.0)


def check_header(path: Path) -> None:
    """Raise DataError if a field or voxel size is missing or invalid, or voxels are in several files or are colours."""
    header, header_bytes = read_fields(path)
    is_meta = path.suffix.lower() in METAIMAGE
    data_file = _data_file_name(header)
    if data_file.startswith(LIST) or "%" in data_file:
        raise DataError(f"{path}: its voxels are in several files: expected one; write them into one file")
    if is_meta:
        _check_meta_fields(path, header)
        if data_file in FOLLOWING and (skipped := header.get("HeaderSize", "0")) not in ("0", "-1", str(header_bytes)):
            raise DataError(
                f"{path}: its header has HeaderSize = {skipped}: expected {header_bytes}, its size in bytes; repair it"
            )
    sizes = [header[name] for name in (META_SIZES if is_meta else NRRD_SIZES) if name in header]
    if not sizes:
        raise DataError(f"{path}: its header has no voxel size: export it again with spacing")
    for text in sizes:
        if not is_meta:
            text = _drop_channel_axis(text, header.get("dimension", ""))
        if "(" not in text and min((n for n in _parse_numbers(path, text) if n is not None), default=0.0) <= 0:
            raise DataError(f"{path}: its header has voxels of {text} mm: expected sizes above 0; repair it")
    for name in () if is_meta else NRRD_VECTORS:
        unknown = _parse_numbers(path, header.get(name, "")).count(None)
        if name == "space directions" and unknown > _channel_axes(header.get("dimension", "")):
            raise DataError(
                f"{path}: its header has {header[name]}: expected a direction for each axis; export it again"
            )
    channels = header.get("ElementNumberOfChannels", "1")
    is_bytes = header.get("ElementType", "").endswith(("_UCHAR", "_CHAR"))
    if (is_bytes and channels in ("3", "4")) or COLOURS.search(header.get("kinds", "")):
        raise DataError(
            f"{path}: voxels have several values each, such as colours: expected real numbers; save it in grey"
        )


def _check_meta_fields(path: Path, header: dict[str, str]) -> None:
    """Check the fields of MetaImage. MetaIO reports errors only on the terminal, or uses other values."""

    def refuse(name: str, expected: str) -> None:
        raise DataError(
            f"{path}: its header has {name} = {header[name]}: expected {expected}; repair it, or copy it again"
        )

    if "" in header:
        raise DataError(f"{path}: its header has the line {header['']!r}: expected NAME = VALUE; copy it again")
    missing = [name for name in META_NEEDS if name not in header]
    if missing:
        raise DataError(f"{path}: its header lacks {', '.join(missing)}, or is damaged: copy it again")
    if header["NDims"] not in ("2", "3", "4"):
        refuse("NDims", "3")
    axes, earlier = int(header["NDims"]), list(header)[: list(header).index("NDims")]
    if not re.fullmatch(r"-?\d+(\s+-?\d+)*", header["DimSize"], re.ASCII) or len(header["DimSize"].split()) != axes:
        refuse("DimSize", f"{axes} whole numbers")
    if header["ElementType"] not in {f"MET_{kind}" for kind in META_TYPES}:
        refuse("ElementType", "a type of numbers such as MET_SHORT")
    for name, neutral in META_SCALING.items():
        if _parse_numbers(path, header.get(name, "")) not in ([], [neutral]):
            refuse(name, f"{neutral:g}, because it would not be applied")
    for name in ("ElementNumberOfChannels", "HeaderSize"):
        if not re.fullmatch(r"-?\d+", header.get(name, "1")):
            refuse(name, "a whole number")
    for name in META_FLAGS:
        if not header.get(name, "False").startswith((*TRUE, *FALSE)):
            refuse(name, "True or False")
    for name in (*META_VECTORS, *META_MATRICES):
        if name in earlier:
            refuse("NDims", f"this field before {name}")
        count = axes**2 if name in META_MATRICES else axes
        if name in header and len(_parse_numbers(path, header[name])) != count:
            refuse(name, f"{count} numbers")


def _drop_channel_axis(spacings: str, dimension: str) -> str:
    """Return the spacings of NRRD without NaN for an axis of channels. Keep all if more NaN than such axes exist."""
    words = spacings.split()
    numbers = [word for word in words if word.lower() != "nan"]
    return " ".join(numbers if len(words) - len(numbers) <= _channel_axes(dimension) else words)


def _channel_axes(dimension: str) -> int:
    """Return how many axes of NRRD are not of space."""
    return max(int(dimension) - 3, 0) if dimension.isdecimal() else 0


def _parse_numbers(path: Path, text: str) -> list[float | None]:
    """Return the numbers of a field. A vector that is "none" or NaN becomes None."""
    words = re.sub(r"[(),]", " ", re.sub(r"(?i)\(\s*nan(\s*,\s*nan)*\s*\)", "none", text)).split()
    try:
        numbers = [None if word == "none" else float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise DataError(f"{path}: its header has {text!r}: expected numbers; repair it")
    return numbers


def read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and its size in bytes.

    Names of NRRD fields become lower case, with a space between words. A line that is no field gets an empty name.
    """
    is_meta = path.suffix.lower() in METAIMAGE
    usual = "=" if is_meta else ":"
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE):
            text = raw.strip().decode("latin-1")
            if not text:
                if is_meta:
                    continue
                break
            if not is_meta and ":=" in text and ": " not in text.partition(":=")[0]:
                continue  # a comment, not a field
            name, separator, value = text.partition(usual if usual in text else ":")
            name = name.strip(SPACES)
            name = name if is_meta else SPACED.get(name.lower(), name.lower())
            fields[name if separator else ""] = value.strip(SPACES) if separator else text
            if is_meta and (name == "ElementDataFile" or not separator):
                break
        return fields, file.tell()


def _data_file_name(header: dict[str, str]) -> str:
    """Return the data file named in a header, or one of FOLLOWING."""
    return next((header[name] for name in DATA_FILE if name in header), "")
