"""Choose the levels of a network for a patch: strides and kernels.

The rules for anisotropic volumes are those of Isensee et al., "nnU-Net", Nature Methods 2021: an axis is neither
downsampled nor convolved while its voxels are at least twice as large as the smallest. Axes of few voxels do not count.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import ConfigError

SMALLEST_EDGE = 4  # minimum voxels of a level along an axis
TWICE = 1.998  # as large, because headers have single precision


def plan_levels(size: np.ndarray, spacing: np.ndarray, max_levels: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the strides between levels and the kernels of levels, for a patch in voxels and its spacing in mm.

    An axis is halved while at least 4 voxels remain and its voxels are less than twice the smallest of the axes that
    can be halved. Its kernel is 1 until its voxels are less than twice these, and then always 3. No level has 2
    voxels along an axis: gradients of such convolutions are wrong in bfloat16 on a CPU (oneDNN, torch 2.13).
    """
    size, spacing = size.astype(float), spacing.astype(float)
    strides: list[list[int]] = []
    kernels: list[list[int]] = []
    convolved = np.zeros(len(size), dtype=bool)  # axes with small enough voxels
    while True:
        large = size >= 2 * SMALLEST_EDGE
        convolved |= spacing < TWICE * (spacing[large] if large.any() else spacing).min()
        kernels.append([3 if c and s > 1 else 1 for c, s in zip(convolved, size, strict=True)])
        if len(kernels) == max_levels or not large.any():
            break
        halve = large & (spacing < TWICE * spacing[large].min())
        strides.append([2 if h else 1 for h in halve])
        size, spacing = np.ceil(size / strides[-1]), spacing * strides[-1]
    if not strides:  # the smallest patches get two levels of the same size
        strides.append([1] * len(size))
        kernels.append(kernels[0])
    return strides, kernels


def check_levels(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> None:
    """Raise ConfigError if a level of a network would have 2 voxels along an axis: see ``plan_levels``."""
    if 2 in np.ceil(np.array(patch) / np.cumprod(strides, axis=0)):
        raise ConfigError(
            f"data.patch is {list(patch)}: a level of the model of training.start_from would have 2 voxels along an "
            f"axis: expected at least {smallest_patch(strides).tolist()}"
        )


def smallest_patch(strides: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return the voxels of the smallest planned patch of a network: 4 at its coarsest level, 1 along unhalved axes."""
    divisor = np.prod(strides, axis=0)
    return np.where(divisor > 1, SMALLEST_EDGE * divisor, 1)
