"""Check headers of volumes of any format, and make NIfTI headers for formats without one."""

import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from attention_unet.config import EDGES_MM
from attention_unet.errors import DataError, times
from attention_unet.machine.memory import free_memory

Contents = tuple[NDArray[np.float32], NDArray[np.float64], nib.Nifti1Header]
"""Of a file: voxels (C, I, J, K), affine from voxel (i, j, k) to RAS+ mm, and a NIfTI header of this grid."""
USUAL_MM = (0.05, 20.0)  # voxel sizes in MR
SHEAR = 1e-3  # largest cosine between two axes at right angles


@contextmanager
def reporting_damage(path: Path) -> Iterator[None]:
    """Raise DataError for a file that cannot be read, or whose stream is damaged."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        if reason := getattr(error, "strerror", None):  # an error of the system; gzip and nibabel give none
            raise DataError(f"{path}: cannot be read ({reason}): check the path and your rights") from error
        raise DataError(f"{path}: is damaged or cut short ({error}): copy it again") from error


def check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    """Raise DataError if an affine is not 4 x 4, not finite or singular, or a voxel size is outside of EDGES_MM.

    Warn of unusual sizes and of shear.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise DataError(
            f"{path}: its affine is invalid: expected 4 x 4 finite numbers, the last row 0, 0, 0, 1; repair it"
        )
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * edges.prod():
        raise DataError(f"{path}: its affine is invalid (singular): repair the header's sform or qform")
    size = times(edges, ".4g")
    if edges.min() < EDGES_MM[0] or edges.max() > EDGES_MM[1]:
        raise DataError(
            f"{path}: its voxels are {size} mm: expected {EDGES_MM[0]:g} to {EDGES_MM[1]:g} mm; repair size and unit"
        )
    if edges.min() < USUAL_MM[0] or edges.max() > USUAL_MM[1]:
        warnings.warn(f"{path}: its voxels are {size} mm, which is unusual: check size and unit", stacklevel=4)
    axes = affine[:3, :3] / edges
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        warnings.warn(
            f"{path}: its axes are not at right angles: used as they are; distances in mm are approximate", stacklevel=4
        )


def check_real(path: Path, kind: np.dtype[Any]) -> None:
    """Raise DataError if voxels are not real numbers."""
    if kind.names:
        raise DataError(
            f"{path}: voxels have several values each, such as colours: expected real numbers; save it in grey"
        )
    if kind.kind not in "biuf":
        raise DataError(f"{path}: voxels are {kind}: expected real numbers; save a magnitude image")


def check_fits(path: Path, shape: Sequence[int], memory: int | None, voxel_bytes: int = 4) -> None:
    """Raise DataError if an array does not fit into ``memory`` bytes; by default most of the free memory."""
    needed, limit = voxel_bytes * math.prod(int(n) for n in shape), free_memory() if memory is None else memory
    if needed > limit:
        raise DataError(
            f"{path}: its header has a grid of {tuple(shape)}, which takes {needed / 2**30:.3g} GiB: the limit is "
            f"{limit / 2**30:.3g} GiB; crop or resample it, close other programs, or use a larger machine"
        )


def make_header(affine: NDArray[np.float64], grid: tuple[int, int, int]) -> nib.Nifti1Header:
    """Return a NIfTI header of a grid in scanner coordinates. It has a qform only if the axes are at right angles."""
    header = nib.Nifti1Header()
    header.set_data_shape(grid)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code="scanner")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    header["pixdim"][1:4] = spacing
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        header.set_qform(affine, code="scanner")
    return header
