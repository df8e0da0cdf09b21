"""Read the DICOM files of a folder as one volume.

pydicom reads the headers, because SimpleITK does not show the functional groups of enhanced multi-frame files. GDCM,
which is part of SimpleITK, decodes the voxels.

Positions in DICOM are in mm to the left, back and top (LPS+). Affines are in mm to the right, front and top (RAS+).
"""

import logging
import os
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError, first_few
from attention_unet.scans.dicom_checks import check_frames_agree, describe_variants, measure_slice_distance
from attention_unet.scans.dicom_frames import VARIANTS, Frame, frames_in, report_damage
from attention_unet.scans.header import Contents, check_affine, check_fits, make_header

if TYPE_CHECKING:
    from pydicom import Dataset

log = logging.getLogger(__name__)

PREAMBLE, MAGIC = 128, b"DICM"
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # first bytes of a file without preamble, in both byte orders
DICOM_ENDINGS = (".dcm", ".ima", ".dcm.gz")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # class of objects without geometry
PIXEL_FIELDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)
PADDING = "PixelPaddingValue"  # stored number of pixels outside the image
FLOAT_PIXELS = ("FloatPixelData", "DoubleFloatPixelData")
HEADER_FIELDS = (
    *("SOPClassUID", "Modality", "SeriesInstanceUID", "ImageType", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(name for name in (*PIXEL_FIELDS, *VARIANTS) if name != "PixelData"),
)


def is_series(folder: Path) -> bool:
    """Return whether a folder holds DICOM files. A hidden or unreadable folder does not."""
    if folder.name.startswith(".") or not os.path.isdir(folder):
        return False
    try:
        return any(map(is_readable_dicom, folder.iterdir()))
    except OSError as error:
        log.warning("%s: cannot be read (%s): skipped", folder, error.strerror)
        return False


def holds_images(folder: Path) -> bool:
    """Return whether a folder holds DICOM files with images, not segmentations and reports alone.

    A file that cannot be read may be an image: reading the series tells.
    """
    for file in sorted(folder.iterdir()):
        try:
            if is_dicom(file) and not _is_other(_read_header(file)):
                return True
        except (DataError, OSError):
            return True
    return False


def _is_other(header: "Dataset") -> bool:
    """Return whether a header is of a segmentation, a report or another object that is no image."""
    kind = _kind(header)
    if header.get("Modality") == "SEG" or "Segmentation" in kind:
        return True
    return ("Rows" not in header or "BitsAllocated" not in header) and kind != "" and "Image Storage" not in kind


def _kind(header: "Dataset") -> str:
    kind = header.get("SOPClassUID") or getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
    return str(getattr(kind, "name", ""))


def is_readable_dicom(file: Path) -> bool:
    """Return whether a file is DICOM, and may be read."""
    try:
        return is_dicom(file)
    except OSError:
        return False


def is_dicom(file: Path) -> bool:
    """Return whether a file is DICOM by its content, with or without the preamble of 128 bytes."""
    if file.name.startswith(".") or file.name.upper() == "DICOMDIR" or not os.path.isfile(file):
        return False
    with file.open("rb") as content:
        start = content.read(PREAMBLE + len(MAGIC))
    if start[PREAMBLE:] == MAGIC:
        return True
    if not start.startswith(FIRST_GROUPS):
        return False
    try:
        header = _read_header(file)
    except DataError:
        return False
    return "Rows" in header or str(header.get("SOPClassUID", "")).startswith("1.2.840.10008.")


def read_dicom(folder: Path, memory: int | None = None) -> Contents:
    """Read the one volume of a folder: a series of slices, or an enhanced multi-frame file.

    Raise DataError if the folder holds no series, several series, or slices that do not form one volume of grey images
    at a constant distance; if a file is damaged; or if the volume is too large for the memory.
    """
    frames = sorted_frames(folder)
    first, step_mm = frames[0], measure_slice_distance(folder, frames)
    if variants := describe_variants(frames):
        warnings.warn(f"{folder}: its slices differ in {variants}: check that they are of one series", stacklevel=3)
    grid = (*first.size, len(frames))
    check_fits(folder, grid, memory, 4 + 2 * max(frame.stored_bytes for frame in frames))
    lps = np.eye(4)
    lps[:3, :3] = np.array([*first.directions, first.normal]).T * (*first.spacing_mm, step_mm)
    lps[:3, 3] = first.position
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    check_affine(folder, affine)
    return _decode(frames).transpose(2, 1, 0)[None], affine, make_header(affine, grid)


def sorted_frames(folder: Path) -> list[Frame]:
    """Return the slices of the one series in a folder, in the order of the voxels that ``read_dicom`` returns.

    Raise DataError as ``read_dicom``, for all faults in headers.
    """
    frames = [frame for file, header in _image_headers(folder).items() for frame in frames_in(file, header)]
    check_frames_agree(folder, frames)
    return sorted(frames, key=lambda frame: float(frame.position @ frames[0].normal))


def _read_header(file: Path) -> "Dataset":
    """Read the fields HEADER_FIELDS of a file."""
    from pydicom import dcmread

    with report_damage(file):
        return dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(HEADER_FIELDS))


def _image_headers(folder: Path) -> dict[Path, "Dataset"]:
    """Read the headers of all images of a folder, which must be of one series. Warn of all other files."""
    images, others, unread, series = {}, list[str](), list[str](), set()
    for file in sorted(folder.iterdir()):
        with report_damage(file):
            if is_dicom(file):
                header = _read_header(file)
                if _is_other(header):
                    others.append(f"{file.name} ({_kind(header).removesuffix(' Storage')})")
                elif "Rows" not in header:
                    raise ValueError("no Rows")
                else:
                    images[file] = header
                    series.add(str(header.get("SeriesInstanceUID", "")))
            elif not (file.name.startswith(".") or file.name.upper() == "DICOMDIR" or file.is_dir()):
                if not file.exists():
                    raise ValueError("a link to a file that does not exist")
                if file.name.lower().endswith(DICOM_ENDINGS):
                    raise ValueError("not a DICOM file")
                unread.append(file.name)
    alike = {re.sub(r"\d+", "0", file.name) for file in images}
    if lost := [name for name in unread if re.sub(r"\d+", "0", name) in alike]:
        raise DataError(
            f"{folder}: {first_few(lost)}: named like its slices, but not DICOM: empty or cut short? Export it again"
        )
    if others:
        warnings.warn(f"{folder}: not read, because they hold no image: {first_few(others)}", stacklevel=5)
    if unread:
        warnings.warn(f"{folder}: not read, because they are not DICOM files: {first_few(unread)}", stacklevel=5)
    if not series:
        raise DataError(
            f"{folder}: holds no DICOM image: expected a file, or the folder of one DICOM series; check the path"
        )
    if len(series) != 1:
        raise DataError(f"{folder}: holds {len(series)} DICOM series: expected one; put each into a folder of its own")
    return images


def _decode(frames: Sequence[Frame]) -> NDArray[np.float32]:
    """Return the values (K, J, I) of sorted slices. Each slice has its own slope and intercept.

    Padding that is brighter than the darkest voxel gets the value of that voxel.
    """
    array = np.empty((len(frames), *frames[0].size[::-1]), dtype=np.float32)
    padded = np.zeros(array.shape, dtype=bool)
    by_file = defaultdict(list)
    for k, frame in enumerate(frames):
        by_file[frame.file].append((k, frame))
    for file, members in by_file.items():
        with report_damage(file), np.errstate(over="ignore"):  # values beyond float32 become infinite
            stored, padding = _stored_numbers(file)
            for k, frame in members:
                array[k] = stored[frame.index].astype(np.float64) * frame.slope + frame.intercept
                padded[k] = padding[frame.index]
    if padded.any() and not padded.all():
        array[padded] = np.minimum(array[padded], array[~padded].min())
    return array


def _stored_numbers(file: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the stored numbers (frame, row, column) of a file, without rescaling, and which of them are padding.

    If low numbers are bright (MONOCHROME1), they are inverted, and padding is not looked for.

    GDCM reads a temporary copy that contains only the pixels. Therefore it does not rescale them and needs no preamble.
    The copy also has a name that SimpleITK can open: it ends the process if a name is not UTF-8.
    """
    import SimpleITK as sitk
    from pydicom import Dataset, dcmread, uid
    from pydicom.dataset import FileMetaDataset
    from pydicom.filewriter import correct_ambiguous_vr

    whole, pixels = dcmread(file, force=True, specific_tags=[*PIXEL_FIELDS, *FLOAT_PIXELS, PADDING]), Dataset()
    for name in PIXEL_FIELDS:
        if name in whole:
            pixels[name] = whole[name]
    implicit, little = whole.original_encoding
    syntax = whole.file_meta.get("TransferSyntaxUID") or (
        uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    )
    if any(name in whole for name in FLOAT_PIXELS):
        raise DataError(
            f"{file}: its voxels are not whole numbers: expected a series of MR images; export the original images"
        )
    if "PixelData" not in pixels:
        raise ValueError("no PixelData")
    shape = (int(pixels.get("NumberOfFrames") or 1), int(pixels.Rows), int(pixels.Columns))
    expected = int(np.prod(shape)) * int(pixels.BitsAllocated) // 8
    if not syntax.is_compressed and len(pixels.PixelData) < expected:
        raise ValueError(f"{len(pixels.PixelData)} of {expected} bytes of voxels")
    pixels.SOPClassUID, pixels.SOPInstanceUID = SECONDARY_CAPTURE, uid.generate_uid()
    pixels.file_meta = FileMetaDataset()
    pixels.file_meta.TransferSyntaxUID = syntax
    with tempfile.TemporaryDirectory() as folder:
        copy = f"{folder}/pixels.dcm"
        pixels.save_as(copy, enforce_file_format=True)
        padding = correct_ambiguous_vr(whole, bool(little)).get(PADDING)
        bits = 2 ** int(pixels.BitsAllocated) - 1  # a negative number may be written as one without sign
        inverted = str(pixels.get("PhotometricInterpretation")) == "MONOCHROME1"
        del whole, pixels
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            image = sitk.ReadImage(copy)
        except RuntimeError as error:
            raise ValueError(f"GDCM cannot decode its voxels, {syntax.name}") from error
    array: NDArray[Any] = sitk.GetArrayFromImage(image)
    if array.size != np.prod(shape):
        raise ValueError(f"voxels of shape {array.shape}, expected {shape}")
    array = array.reshape(shape)
    if inverted or not isinstance(padding, int):
        return array, np.zeros(shape, dtype=bool)
    padded = np.zeros(shape, dtype=bool)
    for index, frame in enumerate(array):  # one by one, because whole numbers of 64 bits take much memory
        padded[index] = frame.astype(np.int64) & bits == padding & bits
    return array, padded
