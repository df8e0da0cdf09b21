"""Read what SimpleITK reads, NRRD, MetaImage and DICOM series, and hand it on as if it had been NIfTI.

SimpleITK counts millimetres to the left and back, we to the right and front.
"""

import logging
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from attention_unet.data.header import check_affine, check_fits, header_of
from attention_unet.data.itk_files import check_header, check_voxels, named_in
from attention_unet.data.mistaken import mistaken_for
from attention_unet.errors import DataError

log = logging.getLogger(__name__)

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_MAGIC_AT, DICOM_MAGIC = 128, b"DICM"
POSITION, ORIENTATION = "0020|0032", "0020|0037"
NRRD, SPACE, LPS = (".nrrd", ".nhdr"), "NRRD_space", "left-posterior-superior"  # to which all known spaces are brought
UNEVEN = 0.02  # of the distance of slices, or in mm if that is more
SIDEWAYS_MM = 0.1


def read_itk(
    path: Path, memory: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64], nib.Nifti1Header]:
    """Voxels (C, I, J, K), affine, and a NIfTI header of that grid, of an NRRD or MetaImage file or a DICOM series.

    Args:
        path: the file, or the folder of the series.
        memory: bytes that reading may take, most of what is free if None.

    Raises:
        DataError: if it is missing, damaged, too large, of another number of axes or not of real numbers, or if a
            folder holds no series, several, or one whose slices are not evenly spaced.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if path.is_file() and (mistake := mistaken_for(_start_of(path))):
        raise DataError(f"{path}: {mistake}")
    if path.is_file():
        check_header(path)
    for file in named_in(path):
        if not file.exists():
            raise DataError(f"{file}: does not exist: {path.name} says that its voxels are there; copy it as well")
    try:
        files = _slices_of(path) if path.is_dir() else [str(path)]
        reader = sitk.ImageFileReader()
        reader.SetFileName(files[0])
        reader.ReadImageInformation()
        as_stored = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID()).GetSizeOfPixelComponent()
        shape = [*reader.GetSize(), reader.GetNumberOfComponents(), len(files)]
        if min(shape) < 1:
            raise DataError(f"{path}: its header says a grid of {reader.GetSize()}: expected voxels; repair it")
        check_fits(path, [n for n in shape if n > 1], memory, 4 + as_stored)
        if path.is_file():
            check_voxels(path, math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * as_stored)
        if path.suffix.lower() in NRRD and not (reader.HasMetaDataKey(SPACE) and reader.GetMetaData(SPACE) == LPS):
            warnings.warn(f"{path}: its header states no orientation in the patient: taken as it lies", stacklevel=3)
        image = sitk.ReadImage(files if path.is_dir() else files[0])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")
        raise DataError(f"{path}: cannot be read, or is damaged ({reason}): copy it again") from error
    if image.GetDimension() != 3:
        raise DataError(f"{path}: has {image.GetDimension()} axes {image.GetSize()}: expected a 3-D volume; convert it")
    if "complex" in image.GetPixelIDTypeAsString():
        raise DataError(
            f"{path}: voxels are {image.GetPixelIDTypeAsString()}: expected real numbers; save a magnitude image"
        )
    array = sitk.GetArrayViewFromImage(image).astype(np.float32)
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    check_affine(path, affine)
    return array.transpose(0, 3, 2, 1), affine, header_of(affine, image.GetSize())


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and your rights") from error


def write_itk(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write an array (I, J, K) in the format of the path's ending.

    Args:
        path: of the file.
        array: voxels.
        affine: 4 x 4, from voxel (i, j, k) to RAS+ millimetres.

    Raises:
        DataError: if it cannot be written.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"{path}: writing failed ({reason}): free space or change the folder") from error


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files; one that is hidden, or may not be read, does not."""
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    try:
        return any(is_dicom(file) for file in folder.iterdir())
    except OSError as error:
        log.warning("warning: %s: cannot be read (%s): passed over", folder, error.strerror)
        return False


def is_dicom(file: Path) -> bool:
    """Whether a file is of DICOM by its content."""
    if file.name.startswith(".") or file.name == "DICOMDIR" or not file.is_file():
        return False
    with file.open("rb") as content:
        content.seek(DICOM_MAGIC_AT)
        return content.read(len(DICOM_MAGIC)) == DICOM_MAGIC


def _slices_of(folder: Path) -> list[str]:
    """Files of the one series of a folder, in order, evenly spaced."""
    import SimpleITK as sitk

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise DataError(f"{folder}: holds {len(series)} DICOM series: expected one; put each into a folder of its own")
    files = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    left = [file.name for file in sorted(folder.iterdir()) if is_dicom(file) and str(file) not in files]
    if left:
        more = f" and {len(left) - 1} more" if left[1:] else ""
        raise DataError(f"{folder}: {left[0]}{more} cannot be read, cut short? Export the series again")
    if len(files) == 1:
        return files  # of many frames, or too thin to go on with, which is told by its shape
    reader, positions, orientations = sitk.ImageFileReader(), [], []
    for file in files:
        reader.SetFileName(file)
        reader.ReadImageInformation()
        if not (reader.HasMetaDataKey(POSITION) and reader.HasMetaDataKey(ORIENTATION)):
            raise DataError(f"{file}: tells no position of its slice: expected slices of an MR volume")
        positions.append([float(n) for n in reader.GetMetaData(POSITION).split("\\")])
        orientations.append(tuple(round(float(n), 4) for n in reader.GetMetaData(ORIENTATION).split("\\")))
    counts = Counter(orientations)
    if len(counts) > 1:
        raise DataError(f"{folder}: its slices have {len(counts)} orientations: expected one; is it a localiser?")
    _check_stack(folder, files, np.array(positions), np.cross(orientations[0][:3], orientations[0][3:]))
    return files


def _check_stack(
    folder: Path, files: Sequence[str], positions: NDArray[np.float64], upwards: NDArray[np.float64]
) -> None:
    """Check that slices lie straight upon each other, at even distances.

    Args:
        folder: of the series.
        files: of the slices, in order.
        positions: of each, (n, 3) in mm.
        upwards: (3,), the direction across the slices.

    Raises:
        DataError: if they do not.
    """
    along = positions @ upwards
    steps = np.abs(np.diff(along))
    usual = float(np.median(steps))
    if usual < 1e-3:
        raise DataError(f"{folder}: holds several images of each slice: expected one volume; export one at a time")
    sideways_mm = np.linalg.norm(positions - positions[0] - np.outer(along - along[0], upwards), axis=1).max()
    if sideways_mm > SIDEWAYS_MM:
        raise DataError(
            f"{folder}: slices lie up to {sideways_mm:.1f} mm beside those below them, as of a tilted gantry: expected "
            "one straight upon the other; resample it"
        )
    odd = int(np.abs(steps - usual).argmax())
    if abs(steps[odd] - usual) > max(UNEVEN * usual, UNEVEN):
        guess = "missing" if steps[odd] > 1.5 * usual else "moved" if steps[odd] > 0.5 * usual else "there twice"
        raise DataError(
            f"{folder}: slices lie {usual:.2f} mm apart, but {Path(files[odd]).name} and {Path(files[odd + 1]).name} "
            f"{steps[odd]:.2f} mm: is one {guess}? Export the series again"
        )
