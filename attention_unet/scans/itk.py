"""Read and write NRRD and MetaImage files with SimpleITK.

Positions in SimpleITK are in mm to the left, back and top (LPS+). Affines are in mm to the right, front and top (RAS+).
"""

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.scans.file_type import describe_other_type
from attention_unet.scans.header import Contents, check_affine, check_fits, make_header, reporting_damage
from attention_unet.scans.itk_files import check_voxels, with_ascii_names
from attention_unet.scans.itk_header import check_header, data_files, unit_mm

ENDINGS = (".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
NRRD, SPACE, LPS = (".nrrd", ".nhdr"), "NRRD_space", "left-posterior-superior"  # SimpleITK converts known spaces to LPS


def read_itk(path: Path, memory: int | None = None) -> Contents:
    """Read an NRRD or MetaImage file.

    Raises:
        DataError: if the file is missing, damaged or too large, or does not hold a 3-D volume of real numbers.
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

    ``fields`` are further fields of the header of an NRRD file.

    Raises:
        DataError: if the file cannot be written.
        ValueError: if the array has other axes.
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
