"""Read and write volumes with their geometry, in all supported formats."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError, plural
from attention_unet.files.atomic import replacing
from attention_unet.files.broken_link import describe_broken_link, is_broken_link
from attention_unet.scans import itk, mgh, nifti
from attention_unet.scans.dicom import read_dicom
from attention_unet.scans.header import Contents, check_affine, check_real, make_header, reporting_damage
from attention_unet.scans.label_table import label_extension, segment_fields
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import stem

WRITABLE_ENDINGS = (*nifti.ENDINGS, ".nrrd", ".mha")
LABEL_TOLERANCE = 1e-3  # largest difference of a label from a whole number
LABEL_LIMIT = 2**24  # float32 holds all whole numbers up to this one
WARNED_SHIFT = 0.1  # of a voxel; larger shifts between two grids are warned of


@dataclass(frozen=True)
class Volume:
    """A volume in the axis order of its file.

    Attributes:
        path: the file, or the folder of a DICOM series.
        array: voxels (C, I, J, K) float32.
        affine: 4 x 4, from voxel (i, j, k) to RAS+ mm.
        header: NIfTI header of the file, or one made for its grid. Files written on this grid copy it.
    """

    path: Path
    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: nib.Nifti1Header

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along (i, j, k)."""
        return self.array.shape[1:]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (i, j, k)."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def select_channel(self, channel: int) -> "Volume":
        """Return a volume of one channel, counted from 0. Raise DataError if there is no such channel."""
        if channel >= len(self.array):
            channels = plural(len(self.array), "channel")
            raise DataError(f"{self.path}: has {channels}: there is no channel {channel}; count from 0")
        return replace(self, array=self.array[[channel]])

    def with_empty_channels(self, numbers: Sequence[int]) -> "Volume":
        """Return a volume with more channels, all 0. Their numbers, from 0, are those in the new volume."""
        places = [number - i for i, number in enumerate(sorted(numbers))]  # in the array as it is
        return replace(self, array=np.insert(self.array, places, 0, axis=0))

    def without_channels(self, numbers: Sequence[int]) -> "Volume":
        """Return a volume whose channels with these numbers, from 0, are 0."""
        array = self.array.copy()
        array[list(numbers)] = 0
        return replace(self, array=array)


def read_volume(path: str | Path, memory: int | None = None) -> Volume:
    """Read an image.

    Channels of a 4-D file become the first axis. NaN and infinite values are replaced by the smallest finite value of
    their channel, with a warning, if they are at most 1 % of each channel.

    Args:
        path: path of the file, or of the folder of a DICOM series.
        memory: bytes that reading may take; by default most of the free memory.

    Raises:
        DataError: for the same reasons as ``read_nifti``, ``read_itk``, ``read_mgh`` and ``read_dicom``, and if more
            than 1 % of a channel is NaN or infinite.

    Example:
        >>> volume = read_volume("phantoms/Phantom/imagesTr/phantom_000.nii.gz")
        >>> volume.array.shape, volume.array.dtype
        ((1, 28, 66, 72), dtype('float32'))
    """
    path = Path(path)
    array, affine, header = _read(path, memory)
    return Volume(path, _replace_invalid(path, array), affine, header)


def _read(path: Path, memory: int | None = None) -> Contents:
    """Return voxels (C, I, J, K), affine and header of a file or a DICOM folder."""
    with reporting_damage(path):
        if is_broken_link(path):
            raise DataError(f"{path}: {describe_broken_link(path)}")
        path.stat()
    if path.is_dir():
        return read_dicom(path, memory)
    stem(path)  # raises if the name is not that of a volume
    readers = {nifti.ENDINGS: nifti.read_nifti, mgh.ENDINGS: mgh.read_mgh, itk.ENDINGS: itk.read_itk}
    return next(read for endings, read in readers.items() if path.name.lower().endswith(endings))(path, memory)


def read_labels(path: Path, memory: int | None = None) -> Volume:
    """Read a label map: one channel of whole numbers from 0.

    Raise DataError as ``read_volume``, and if a value is NaN, infinite, not whole, negative, or 2**24 or more.
    """
    array, affine, header = _read(path, memory)
    if len(array) != 1:
        advice = "save one channel"
        if path.name.lower().endswith(".seg.nrrd"):
            advice = "its segments overlap, so that 3D Slicer stores them in layers; export them into one label map"
        raise DataError(f"{path}: has {len(array)} channels: expected a label map of one; {advice}")
    lowest, highest = float(array.min()), float(array.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError(f"{path}: has voxels that are NaN or infinite: expected labels; export it again")
    for plane in np.moveaxis(array[0], -1, 0):  # a second array of all planes would double the memory
        labels = np.round(plane)
        if np.abs(plane - labels).max() > LABEL_TOLERANCE:
            raise DataError(
                f"{path}: labels are not whole numbers: resampled linearly? Resample labels to the nearest voxel"
            )
        np.add(labels, 0.0, out=plane)  # turns -0.0 into 0.0
    if array.min() < 0:
        raise DataError(f"{path}: has the label {lowest:g}: expected whole numbers of at least 0; renumber the labels")
    if highest >= LABEL_LIMIT:
        raise DataError(f"{path}: has the label {highest:.0f}: expected less than {LABEL_LIMIT}; renumber the labels")
    return Volume(path, array, affine, header)


def check_same_grid(volume: Volume, other: Volume) -> None:
    """Raise DataError if grids differ in shape, or by a shift above half of the shortest edge of a voxel. Warn above a
    tenth of it.
    """
    own, others = ("".join(nib.aff2axcodes(each.affine)) for each in (volume, other))
    advice = "resample one" if own == others else f"its axes are {own}, the other's {others}: reorder one to the other"
    if volume.grid != other.grid:
        raise DataError(
            f"{volume.path}: grid is {volume.grid}, but {other.path} has {other.grid}: they must be the same; {advice}"
        )
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, n - 1) for n in volume.grid))]).T
    shift_mm = float(np.linalg.norm((volume.affine - other.affine) @ corners, axis=0).max())
    shifted = f"{volume.path}: is shifted by up to {shift_mm:.2f} mm against {other.path}"
    if shift_mm > 0.5 * min(volume.spacing_mm):
        raise DataError(
            f"{shifted}: their affines must agree; {advice}; if their voxels match one by one, one of the headers is "
            "wrong: copy that of the scan"
        )
    if shift_mm > WARNED_SHIFT * min(volume.spacing_mm):
        warnings.warn(f"{shifted}: treated as aligned", stacklevel=2)


def volume_of_array(array: NDArray[Any], affine: NDArray[np.float64]) -> Volume:
    """Return a volume of voxels (I, J, K) or (C, I, J, K). The affine, 4 x 4, is from voxel (i, j, k) to RAS+ mm.

    Raise DataError if the array has other axes or no real numbers, if more than 1 % of a channel is NaN or infinite, or
    if the affine is invalid.
    """
    name = Path("the array")
    check_real(name, array.dtype)
    if array.ndim not in (3, 4) or not array.size:
        raise DataError(f"{name}: has {array.ndim} axes {array.shape}: expected (I, J, K), or (C, I, J, K) of channels")
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(name, affine)
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        values = np.asarray(array if array.ndim == 4 else array[None], dtype=np.float32)
    return Volume(name, _replace_invalid(name, values), affine, make_header(affine, values.shape[1:]))


def volume_of_image(image: nib.Nifti1Image) -> Volume:
    """Return a volume of a nibabel image. Raise DataError as ``read_volume``, and if it is NIfTI-2 or has no affine."""
    path = Path(image.get_filename() or "the image")
    if image.affine is None:
        raise DataError(f"{path}: has no affine: expected a 4 x 4 voxel-to-RAS+ matrix; give one to nib.Nifti1Image")
    if isinstance(image, nib.Nifti2Image):
        raise DataError(f"{path}: is NIfTI-2: expected NIfTI-1; convert it")
    with reporting_damage(path):
        array, affine, header = nifti.read_image(path, image)
    return Volume(path, _replace_invalid(path, array), affine, header)


def image_like(array: NDArray[np.generic], pattern: Volume) -> nib.Nifti1Image:
    """Return a NIfTI image of an array on the grid of a volume: with its affine, sform, qform and their codes.

    Voxels keep their type, without scaling; boolean ones become uint8. Descriptions in the header are cleared, because
    they may name the patient. A wrong array raises the TypeError or ValueError of ``write_like``.
    """
    if isinstance(array, np.ma.MaskedArray) or not isinstance(array, np.ndarray):
        raise TypeError(f"the array is of type {type(array).__name__}: expected a numpy array that is not masked")
    if array.shape[:3] != pattern.grid or array.ndim > 4:
        raise ValueError(f"the array has the shape {array.shape}: expected the grid {pattern.grid} of {pattern.path}")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise TypeError(f"the array holds {array.dtype}: expected integers, booleans, float32 or float64")
    array = array.astype(np.uint8 if array.dtype == np.bool_ else array.dtype.newbyteorder("="), copy=False)
    header = pattern.header.copy()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["cal_min"] = header["cal_max"] = 0
    for field in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        header[field] = b""
    header.set_intent("none")
    header.extensions.clear()
    return nib.Nifti1Image(array, header.get_best_affine(), header)


def label_image(label_map: NDArray[np.generic], pattern: Volume, labels: Labels) -> nib.Nifti1Image:
    """Return the image of a label map, as ``image_like``, with names and colours of its classes for viewers."""
    image = image_like(label_map, pattern)
    image.header.set_intent("label")
    image.header.extensions.append(label_extension(labels))
    return image


def write_like(path: str | Path, array: NDArray[np.generic], pattern: Volume, labels: Labels | None = None) -> None:
    """Write an array on the grid of a volume. The file appears whole or not at all.

    Args:
        path: path of the file. Its ending decides the format.
        array: voxels (I, J, K).
        pattern: volume on the same grid.
        labels: classes, if the array is a label map. NIfTI and ``.seg.nrrd`` files keep their names and colours.

    Raises:
        DataError: if the file cannot be written, or its format does not hold header and voxels in one file.
        TypeError: if the array is not a numpy array of integers, booleans, float32 or float64, or is masked.
        ValueError: if the array has another grid.

    Example:
        >>> volume = read_volume("phantoms/Phantom/imagesTr/phantom_000.nii.gz")
        >>> write_like("mask.nii.gz", (volume.array[0] > 100).astype(np.uint8), volume)
    """
    path = Path(path)
    if not path.name.endswith(WRITABLE_ENDINGS):
        raise DataError(
            f"{path}: cannot be written in this format: expected a name that ends in {', '.join(WRITABLE_ENDINGS)}"
        )
    with replacing(path) as partial:
        if path.name.endswith(nifti.ENDINGS):
            image = image_like(array, pattern) if labels is None else label_image(array, pattern, labels)
            nifti.write_nifti(image, partial)
        else:
            fields = segment_fields(labels, pattern.grid) if labels and path.name.endswith(".seg.nrrd") else None
            itk.write_itk(partial, np.asanyarray(image_like(array, pattern).dataobj), pattern.affine, fields)


def _replace_invalid(path: Path, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace NaN and infinite values of (C, I, J, K) by the smallest finite value of their channel."""
    with np.errstate(invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):  # one NaN or infinite voxel makes the sum NaN or infinite
            return array
    invalid = ~np.isfinite(array)
    count, most = int(invalid.sum()), int(invalid.reshape(len(array), -1).sum(axis=1).max())
    if most > 0.01 * array[0].size:
        raise DataError(
            f"{path}: {most} of {array[0].size} voxels are NaN or infinite: expected at most 1 %; export it again"
        )
    warnings.warn(f"{path}: {count} voxels are NaN or infinite: replaced by the smallest value", stacklevel=3)
    filled: NDArray[np.float32] = array.copy()
    for channel, replaced in zip(filled, invalid, strict=True):
        channel[replaced] = channel.min(where=~replaced, initial=np.inf)
    return filled
