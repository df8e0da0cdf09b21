"""Whether what attention lies on matters: the more of it is deleted from the scan, the worse the prediction should be.

The deletion curve of Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models",
arXiv:1806.07421, beside that of blocks of the same size at random.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from attention_unet.data.volumes import Volume

SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)  # of the scan's voxels that are deleted; at first none


def order_by(weights: NDArray[np.floating], chance: NDArray[np.floating]) -> NDArray[np.intp]:
    """Voxels (flat) by falling weight; of equal weights by chance."""
    return np.lexsort((chance.ravel(), -weights.ravel()))


def at_random(grid: Sequence[int], block: Sequence[int], seed: int) -> NDArray[np.float64]:
    """A map of random weights (I, J, K), the same throughout each block of so many voxels."""
    coarse = np.random.default_rng(seed).random([-(-n // edge) for n, edge in zip(grid, block, strict=True)])
    for axis, edge in enumerate(block):
        coarse = coarse.repeat(edge, axis=axis)
    i, j, k = grid
    return coarse[:i, :j, :k]


def without(volume: Volume, order: NDArray[np.intp], share: float) -> Volume:
    """The scan with the first voxels of an order set to the mean of their channel."""
    array = volume.array.copy()
    for channel in array:
        channel.ravel()[order[: round(share * len(order))]] = channel.mean()
    return replace(volume, array=array)


def area(values: Sequence[float]) -> float:
    """Mean height of a curve over ``SHARES``."""
    return float(trapezoid(values, SHARES) / (SHARES[-1] - SHARES[0]))
