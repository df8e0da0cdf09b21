"""What a volume's header must say to be of use, whatever its format, and one for what has none."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from attention_unet.config import EDGES_MM
from attention_unet.errors import DataError
from attention_unet.machine.memory import free_memory

USUAL_MM = (0.05, 20.0)  # of voxels of MR
SHEAR = 1e-3  # cosine between axes from which they are not at right angles


def check_affine(path: Path, affine: NDArray[np.float64] | None) -> None:
    """Check that an affine maps voxels to a volume in millimetres.

    Raises:
        DataError: if it does not, or to one of no scanner.
    """
    whole = affine is not None and affine.shape == (4, 4) and np.isfinite(affine).all()
    if affine is None or not whole or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise DataError(
            f"{path}: its affine maps no volume (no 4 x 4 finite numbers, the last row 0, 0, 0, 1): repair it"
        )
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * edges.prod():
        raise DataError(f"{path}: its affine maps no volume (singular): repair the header's sform or qform")
    found = " x ".join(f"{edge:.4g}" for edge in edges)
    if edges.min() < EDGES_MM[0] or edges.max() > EDGES_MM[1]:
        raise DataError(
            f"{path}: its voxels are {found} mm: expected {EDGES_MM[0]:g} to {EDGES_MM[1]:g} mm; repair size and unit"
        )
    if edges.min() < USUAL_MM[0] or edges.max() > USUAL_MM[1]:
        warnings.warn(f"{path}: its voxels are {found} mm, which is unusual: check size and unit", stacklevel=4)
    axes = affine[:3, :3] / edges
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        warnings.warn(f"{path}: its axes are not at right angles: taken as they lie", stacklevel=4)


def check_real(path: Path, kind: np.dtype[Any]) -> None:
    """Check that voxels are real numbers.

    Raises:
        DataError: if they are not.
    """
    if kind.names:
        raise DataError(
            f"{path}: voxels are several values each, such as a colour: expected real numbers; save it in grey"
        )
    if kind.kind not in "biuf":
        raise DataError(f"{path}: voxels are {kind}: expected real numbers; save a magnitude image")


def check_fits(path: Path, shape: Sequence[int], memory: int | None, size: int = 4) -> None:
    """Check that an array fits into memory.

    Args:
        path: of its file.
        shape: of it.
        memory: bytes that it may take, most of those that are free if None.
        size: bytes of a voxel, or of all that is held of it; those of float32 if not told.

    Raises:
        DataError: if it does not.
    """
    needed, limit = size * math.prod(int(n) for n in shape), free_memory() if memory is None else memory
    if needed > limit:
        raise DataError(
            f"{path}: its header says a grid of {tuple(shape)}, {needed / 2**30:.3g} GiB to hold; the limit is "
            f"{limit / 2**30:.3g}: crop or resample it, close other programs, or use a larger machine"
        )


def header_of(affine: NDArray[np.float64], grid: tuple[int, int, int]) -> nib.Nifti1Header:
    """NIfTI header of a grid in the scanner's coordinates; a qform only where the axes are at right angles."""
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
