"""The one place that reads and writes volumes, with their geometry."""

import itertools
import os
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.files.atomic import replacing
from attention_unet.scans import itk, nifti
from attention_unet.scans.dicom import is_dicom, read_dicom
from attention_unet.scans.header import check_affine, check_real, header_of
from attention_unet.scans.itk import read_itk, write_itk
from attention_unet.scans.itk_header import data_files
from attention_unet.scans.label_table import label_extension
from attention_unet.scans.labels import Labels
from attention_unet.scans.nifti import read_nifti

ENDINGS = (*nifti.ENDINGS, *itk.ENDINGS)
NOTES = (  # endings of files that lie beside scans and are none
    *(".json", ".txt", ".tsv", ".csv", ".md", ".xml", ".html", ".yaml", ".yml", ".log", ".bval", ".bvec"),
    *(".png", ".jpg", ".jpeg", ".pdf"),
)
WRITTEN = (*nifti.ENDINGS, ".nrrd", ".mha")
WHOLE = 1e-3  # by which a label may be off a whole number
MOST_LABELS = 2**24  # up to which float32 holds whole numbers
ASIDE = 0.1  # of a voxel, from which grids that are taken as one are told to lie apart


@dataclass(frozen=True)
class Volume:
    """A volume as it lies in its file.

    Attributes:
        path: the file, or the folder of a DICOM series.
        array: voxels (C, I, J, K) float32, in the file's own axis order.
        affine: 4 x 4, from voxel (i, j, k) to RAS+ millimetres.
        header: the file's NIfTI header, or one of its grid; the pattern for whatever is written on the same grid.
    """

    path: Path
    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: nib.Nifti1Header

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along (i, j, k)."""
        return self.array.shape[1:]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Size of a voxel along (i, j, k)."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def of_channel(self, channel: int) -> "Volume":
        """One channel, from 0, by itself.

        Raises:
            DataError: if there is no such channel.
        """
        if channel >= len(self.array):
            raise DataError(f"{self.path}: has {len(self.array)} channels: there is no channel {channel}; count from 0")
        return replace(self, array=self.array[[channel]])


def stem(path: Path) -> str:
    """Name of a volume's file without its ending, which may have two parts, or of the folder of a DICOM series.

    Raises:
        DataError: if the file is none that can be read by its name.
    """
    if path.is_dir():
        return os.fsencode(path.name).decode("utf-8", "replace")
    name = os.fsencode(path.name).decode("utf-8", "replace")  # files written from it must have one that all can read
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    raise DataError(f"{path}: expected a volume ({', '.join(ENDINGS)}): convert it first")


def is_volume(path: Path) -> bool:
    """Whether a file is a volume by its name; hidden files never are. A link to nothing counts: it fails when read."""
    is_there = path.is_file() or (path.is_symlink() and not path.exists())
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".") and is_there


def list_volumes(folder: Path) -> list[Path]:
    """Volumes of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_volume(path))


def list_unread(folder: Path) -> list[str]:
    """Names of the files of a folder that are not read and may be scans: in other formats, or no regular files.

    Hidden files, notes and pictures beside scans, DICOM files and files that a header names are left out.
    """
    volumes = list_volumes(folder)
    read = {*volumes, *(file for volume in volumes if volume.is_file() for file in data_files(volume))}
    unread = []
    for path in sorted(folder.iterdir()):
        beside = path.name.startswith(".") or path.name.lower().endswith(NOTES)
        is_folder = path.is_dir() and not path.name.lower().endswith(ENDINGS)
        if path not in read and not beside and not is_folder and not is_dicom(path):
            unread.append(path.name)
    return unread


def volumes_by_case(folder: Path) -> dict[str, Path]:
    """Volumes of a folder by their names without endings.

    Raises:
        DataError: if a case is there twice, such as .nii and .nii.gz.
    """
    return by_name(list_volumes(folder))


def by_name(paths: Iterable[Path]) -> dict[str, Path]:
    """Volumes by their names without endings.

    Raises:
        DataError: if a name is there twice.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if stem(path) in found:
            raise DataError(f"{path}: the case is there twice, also as {found[stem(path)].name}: keep one")
        found[stem(path)] = path
    return found


def read_volume(path: str | Path, memory: int | None = None) -> Volume:
    """Read an image.

    Channels of a 4-D file become the first axis. NaN and infinite values, if fewer than 1% of a channel, become its
    smallest finite one, with a warning.

    Args:
        path: of the file, or of the folder of a DICOM series.
        memory: bytes that reading may take, most of what is free if None.

    Raises:
        DataError: as ``read_nifti``, ``read_itk`` and ``read_dicom``, and if more voxels are no numbers.
    """
    path = Path(path)
    array, affine, header = _read(path, memory)
    return Volume(path, _without_holes(path, array), affine, header)


def _read(path: Path, memory: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.float64], nib.Nifti1Header]:
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"{path}: is a link to {os.readlink(path)}, which is not there: fetch it, with DataLad by 'datalad get'"
        )
    if path.is_dir():
        return read_dicom(path, memory)
    stem(path)  # raises if the name is not that of a volume
    return (read_nifti if path.name.lower().endswith(nifti.ENDINGS) else read_itk)(path, memory)


def read_labels(path: Path, memory: int | None = None) -> Volume:
    """Read a label map: like an image, of one channel and whole numbers of at least 0.

    Args:
        path: of the file.
        memory: bytes that reading may take, most of what is free if None.

    Raises:
        DataError: as for images, and if values are no numbers, not whole, negative or too high.
    """
    array, affine, header = _read(path, memory)
    if len(array) != 1:
        raise DataError(f"{path}: has {len(array)} channels: expected a label map of one")
    lowest, highest = float(array.min()), float(array.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError(f"{path}: has voxels that are NaN or infinite: expected labels; export it again")
    labels = np.round(array)
    labels += 0.0  # no minus before a zero
    array -= labels
    if np.abs(array, out=array).max() > WHOLE:
        raise DataError(
            f"{path}: labels are not whole numbers: resampled linearly? Resample labels to the nearest voxel"
        )
    if labels.min() < 0:
        raise DataError(f"{path}: has the label {lowest:g}: expected whole numbers of at least 0; number them anew")
    if highest >= MOST_LABELS:
        raise DataError(f"{path}: has the label {highest:.0f}: expected less than {MOST_LABELS}; number them anew")
    return Volume(path, labels, affine, header)


def check_same_grid(volume: Volume, other: Volume) -> None:
    """Check that two volumes lie on each other, to half a voxel; what is less, but to be seen, is warned of.

    Raises:
        DataError: naming both files and what differs.
    """
    if volume.grid != other.grid:
        raise DataError(
            f"{volume.path}: grid is {volume.grid}, but {other.path} has {other.grid}: they must be the same"
        )
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, n - 1) for n in volume.grid))]).T
    shift_mm = float(np.abs((volume.affine - other.affine) @ corners).max())
    if shift_mm > 0.5 * min(volume.spacing_mm):
        raise DataError(
            f"{volume.path}: lies up to {shift_mm:.2f} mm off {other.path}: their affines must agree; resample one"
        )
    if shift_mm > ASIDE * min(volume.spacing_mm):
        warnings.warn(f"{volume.path}: lies up to {shift_mm:.2f} mm off {other.path}: taken as on it", stacklevel=2)


def as_volume(array: NDArray[Any], affine: NDArray[np.float64]) -> Volume:
    """A volume that comes from no file.

    Args:
        array: voxels (I, J, K), or (C, I, J, K) of channels.
        affine: 4 x 4, from voxel (i, j, k) to RAS+ millimetres.

    Raises:
        DataError: if the array has other axes, too many voxels that are no numbers, or the affine maps no volume.
    """
    name = Path("the array")
    check_real(name, array.dtype)
    if array.ndim not in (3, 4) or not array.size:
        raise DataError(f"{name}: has {array.ndim} axes {array.shape}: expected (I, J, K), or (C, I, J, K) of channels")
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(name, affine)
    values = np.asarray(array if array.ndim == 4 else array[None], dtype=np.float32)
    return Volume(name, _without_holes(name, values), affine, header_of(affine, values.shape[1:]))


def of_image(image: nib.Nifti1Image) -> Volume:
    """A volume of an image that nibabel holds, or has opened.

    Raises:
        DataError: as for a file, and if it is NIfTI-2.
    """
    path = Path(image.get_filename() or "the image")
    if image.affine is None:
        raise DataError(f"{path}: has no affine: expected a 4 x 4 voxel-to-RAS+ matrix; give one to nib.Nifti1Image")
    if isinstance(image, nib.Nifti2Image):
        raise DataError(f"{path}: is NIfTI-2: expected NIfTI-1; convert it")
    try:
        array, affine, header = nifti.voxels_of(path, image)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: is damaged or cut short ({error}): copy it again") from error
    return Volume(path, _without_holes(path, array), affine, header)


def image_like(array: NDArray[np.generic], pattern: Volume) -> nib.Nifti1Image:
    """A NIfTI image of an array (I, J, K) on the grid of a volume, with its affine, sform and qform and their codes.

    Nothing of the patient or of the scanner's notes is copied: descriptions are cleared.

    Args:
        array: voxels; the image has the type of this array, without scaling.
        pattern: volume whose grid it is.

    Raises:
        TypeError: if it is no numpy array, or masked.
        ValueError: if its shape is not that of the grid.
    """
    if isinstance(array, np.ma.MaskedArray) or not isinstance(array, np.ndarray):
        raise TypeError(f"the array is of type {type(array).__name__}: expected a numpy array that is not masked")
    if array.shape[:3] != pattern.grid or array.ndim > 4:
        raise ValueError(f"the array has the shape {array.shape}: expected the grid {pattern.grid} of {pattern.path}")
    array = array.astype(np.uint8) if array.dtype == np.bool_ else array
    header = pattern.header.copy()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["cal_min"] = header["cal_max"] = 0
    for note in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        header[note] = b""
    header.set_intent("none")
    header.extensions.clear()
    return nib.Nifti1Image(array, header.get_best_affine(), header)


def label_image(label_map: NDArray[np.generic], pattern: Volume, labels: Labels) -> nib.Nifti1Image:
    """What ``image_like`` makes of a label map, with the names and colours of its classes for viewers."""
    image = image_like(label_map, pattern)
    image.header.set_intent("label")
    image.header.extensions.append(label_extension(labels))
    return image


def write_like(path: Path, array: NDArray[np.generic], pattern: Volume, labels: Labels | None = None) -> None:
    """Write what ``image_like`` makes, or of a label map ``label_image``; the file appears whole or not at all.

    Args:
        path: of the file, whose ending tells the format.
        array: voxels (I, J, K).
        pattern: volume whose grid it is.
        labels: of a label map; other formats than NIfTI do not keep them.

    Raises:
        DataError: if it cannot be written, or the ending is none that holds header and voxels in one file.
        ValueError: as ``image_like``.
    """
    if not path.name.endswith(WRITTEN):
        raise DataError(f"{path}: cannot be written in this format: expected a name that ends in {', '.join(WRITTEN)}")
    with replacing(path) as partial:
        if path.name.endswith(nifti.ENDINGS):
            nib.save(image_like(array, pattern) if labels is None else label_image(array, pattern, labels), partial)
        else:
            write_itk(partial, np.asanyarray(image_like(array, pattern).dataobj), pattern.affine)


def own_ending(path: Path) -> str:
    """Ending of a single file in the format of a volume; NIfTI's for a DICOM series."""
    if path.is_dir() or path.name.lower().endswith(nifti.ENDINGS):
        return ".nii.gz"
    return ".nrrd" if path.suffix.lower() in (".nrrd", ".nhdr") else ".mha"


def _without_holes(path: Path, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace what is no number by the darkest value of its channel."""
    with np.errstate(invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):  # of which any hole would have become part
            return array
    holes = ~np.isfinite(array)
    count, most = int(holes.sum()), int(holes.reshape(len(array), -1).sum(axis=1).max())
    if most > 0.01 * array[0].size:
        raise DataError(
            f"{path}: {most} of {array[0].size} voxels are NaN or infinite, above 1 %: expected numbers; export it anew"
        )
    warnings.warn(f"{path}: {count} voxels are NaN or infinite: replaced by the smallest value", stacklevel=3)
    filled: NDArray[np.float32] = array.copy()
    for channel, hidden in zip(filled, holes, strict=True):
        channel[hidden] = channel.min(where=~hidden, initial=np.inf)
    return filled
