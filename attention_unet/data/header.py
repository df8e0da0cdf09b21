"""What a volume's header must say to be of use, whatever its format, and one for what has none."""

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.memory import machine_memory


def check_affine(path: Path, affine: NDArray[np.float64] | None) -> None:
    """Check that an affine (4 x 4) maps voxels to a volume.

    Raises:
        DataError: if it does not.
    """
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(
            f"{path}: its affine maps no volume (not finite or singular): repair the header's sform or qform"
        )


def check_fits(path: Path, shape: Sequence[int], memory: int | None, size: int = 4) -> None:
    """Check that an array fits into memory.

    Args:
        path: of its file.
        shape: of it.
        memory: bytes that it may take, those of the machine if None.
        size: bytes of a voxel, or of all that is held of it; those of float32 if not told.

    Raises:
        DataError: if it does not.
    """
    needed, limit = size * math.prod(int(n) for n in shape), machine_memory() if memory is None else memory
    if needed > limit:
        raise DataError(
            f"{path}: its header says a grid of {tuple(shape)}, {needed / 2**30:.2f} GiB to hold; the limit is "
            f"{limit / 2**30:.2f}: crop or resample it, or give it more memory"
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
