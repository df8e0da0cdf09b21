"""The one place that reads and writes volumes: NIfTI files with their geometry, checked to the last byte."""

import gzip
import itertools
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from attention_unet.atomic import replacing
from attention_unet.errors import DataError

ENDINGS = (".nii.gz", ".nii")
GZIP_MAGIC = b"\x1f\x8b"
NIFTI2_MAGIC = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # the size of its header, 540, in either byte order


@dataclass(frozen=True)
class Volume:
    """A volume as it lies in its file.

    Attributes:
        path: the file.
        array: voxels (C, I, J, K) float32, in the file's own axis order.
        affine: 4 x 4, from voxel (i, j, k) to RAS+ millimetres.
        header: the file's NIfTI header, the pattern for whatever is written on the same grid.
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


def stem(path: Path) -> str:
    """Name of a volume's file without its ending, which may have two parts.

    Raises:
        DataError: if the file is not NIfTI by its name.
    """
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    raise DataError(f"{path}: expected a NIfTI file ({' or '.join(ENDINGS)}): convert it first")


def is_volume(path: Path) -> bool:
    """Whether a file is a volume by its name; hidden files never are."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".") and path.is_file()


def list_volumes(folder: Path) -> list[Path]:
    """Volumes of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_volume(path))


def volumes_by_case(folder: Path) -> dict[str, Path]:
    """Volumes of a folder by their names without endings.

    Raises:
        DataError: if a case is there twice, as .nii and .nii.gz.
    """
    found: dict[str, Path] = {}
    for path in list_volumes(folder):
        if stem(path) in found:
            raise DataError(f"{path}: the case is there twice, also as {found[stem(path)].name}: keep one")
        found[stem(path)] = path
    return found


def read_volume(path: Path) -> Volume:
    """Read an image.

    Channels of a 4-D file become the first axis. NaN and infinite values, if fewer than 1%, become the smallest finite
    one, with a warning.

    Raises:
        DataError: if the file is missing, damaged, not NIfTI, of another number of axes, not of real numbers, or
            without a usable geometry.
    """
    image = _load(path)
    if image.get_data_dtype().fields is not None or np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise DataError(f"{path}: voxels are {image.get_data_dtype()}: expected real numbers; save a magnitude image")
    affine = _checked_affine(path, image)
    array = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4):
        raise DataError(f"{path}: has {array.ndim} axes {array.shape}: expected a 3-D volume or a 4-D one of channels")
    array = array[None] if array.ndim == 3 else np.moveaxis(array, 3, 0)
    return Volume(path, _without_holes(path, array), affine, image.header)


def read_labels(path: Path) -> Volume:
    """Read a label map: like an image, of one channel and whole numbers of at least 0.

    Raises:
        DataError: as for images, and if values are not whole or are negative.
    """
    volume = read_volume(path)
    if len(volume.array) != 1:
        raise DataError(f"{path}: has {len(volume.array)} channels: expected a label map of one")
    off = np.abs(volume.array - np.round(volume.array)).max(initial=0.0)
    if off > 1e-3:
        raise DataError(
            f"{path}: labels are not whole numbers: resampled linearly? Resample labels to the nearest voxel"
        )
    lowest = volume.array.min(initial=0.0)
    if lowest < 0:
        raise DataError(f"{path}: has the label {lowest:g}: expected whole numbers of at least 0")
    return Volume(path, np.round(volume.array), volume.affine, volume.header)


def check_same_grid(volume: Volume, other: Volume) -> None:
    """Check that two volumes lie on each other, to half a voxel.

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


def write_like(path: Path, array: NDArray[np.generic], pattern: Volume) -> None:
    """Write an array (I, J, K) on the grid of a volume, with its affine, its sform and qform and their codes.

    Nothing of the patient or of the scanner's notes is copied: descriptions are cleared.

    Args:
        path: file to write; it appears whole or not at all.
        array: voxels; the file stores them in the type of this array, without scaling.
        pattern: volume whose grid it is.

    Raises:
        DataError: if it cannot be written.
    """
    header = pattern.header.copy()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["cal_min"] = header["cal_max"] = 0
    for note in ("descrip", "aux_file", "db_name", "intent_name"):
        header[note] = b""
    header.set_intent("none")
    header.extensions.clear()
    image = nib.Nifti1Image(array, None, header)
    with replacing(path) as partial:
        nib.save(image, partial)


def _load(path: Path) -> nib.Nifti1Image:
    """Open a NIfTI file whose every byte is there; the gzip checksum is verified, which nibabel does not do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and your rights") from error
    if not data:
        raise DataError(f"{path}: is empty: expected a NIfTI file; copy it again")
    if data[:2] == GZIP_MAGIC:
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: is damaged or cut short ({error}): copy it again") from error
    if data[:4] in NIFTI2_MAGIC:
        raise DataError(f"{path}: is NIfTI-2: expected NIfTI-1; convert it")
    try:
        image = nib.Nifti1Image.from_bytes(data)
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        kind = "looks like a web page" if data.lstrip()[:1] == b"<" else "is not a NIfTI file"
        raise DataError(f"{path}: {kind} ({error}): expected a NIfTI volume") from error
    raw = nib.Nifti1Header(data[: nib.Nifti1Header.sizeof_hdr], check=False)  # nibabel forgets the scaling it has read
    zooms, scaling = raw["pixdim"][1:4], [float(raw["scl_slope"]), float(raw["scl_inter"])]
    if not np.isfinite(zooms).all() or np.isinf(scaling).any():
        raise DataError(f"{path}: its header has voxels of {zooms.tolist()} mm and scaling {scaling}: expected numbers")
    offset = int(image.dataobj.offset)
    shape, itemsize = image.shape, image.get_data_dtype().itemsize
    expected = offset + itemsize * int(np.prod([int(n) for n in shape], dtype=object))
    if min(shape, default=0) < 1:
        raise DataError(f"{path}: its header says a grid of {shape}: expected at least one voxel an axis")
    if len(data) < expected:
        raise DataError(f"{path}: has {len(data)} bytes, its header says {expected}: cut short? Copy it again")
    return image


def _checked_affine(path: Path, image: nib.Nifti1Image) -> NDArray[np.float64]:
    affine = image.affine
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(
            f"{path}: its affine maps no volume (not finite or singular): repair the header's sform or qform"
        )
    sform, sform_code = image.get_sform(coded=True)
    try:
        qform, qform_code = image.get_qform(coded=True)
    except ValueError:  # a quaternion that is none
        if sform_code == 0:
            raise DataError(f"{path}: its qform is no rotation and it has no sform: repair the header") from None
        warnings.warn(f"{path}: its qform is no rotation: the sform is used", stacklevel=4)
        return np.asarray(affine, dtype=np.float64)
    if sform_code == 0 and qform_code == 0:
        warnings.warn(f"{path}: its header states no orientation (both codes 0): taken as it lies", stacklevel=4)
    elif sform is not None and qform is not None and not np.allclose(sform, qform, atol=1e-2):
        warnings.warn(f"{path}: its sform and qform disagree: the sform is used", stacklevel=4)
    return np.asarray(affine, dtype=np.float64)


def _without_holes(path: Path, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace what is no number by the darkest value of its channel."""
    holes = ~np.isfinite(array)
    count = int(holes.sum())
    if count == 0:
        return array
    if count > 0.01 * array.size:
        raise DataError(
            f"{path}: {count} of {array.size} voxels are NaN or infinite: expected numbers; export it again"
        )
    warnings.warn(f"{path}: {count} voxels are NaN or infinite: replaced by the smallest value", stacklevel=3)
    darkest = np.where(holes, np.inf, array).min(axis=(1, 2, 3), keepdims=True)
    return np.where(holes, darkest, array)
