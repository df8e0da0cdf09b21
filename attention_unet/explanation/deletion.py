"""Whether what attention lies on matters for the result: delete it from the scan and see what the prediction loses.

The deletion curve of Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models",
arXiv:1806.07421. Beside it, two controls: deletion of blocks at random, and in the order of the distance to the model's
own prediction, which needs no attention.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.integrate import trapezoid

from attention_unet.scans.volumes import Volume

SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)  # of the scan's voxels that are deleted; at first none


def order_by(weights: NDArray[np.floating], chance: NDArray[np.floating]) -> NDArray[np.intp]:
    """Voxels (flat) by falling weight; of equal weights by chance."""
    return np.lexsort((chance.ravel(), -weights.ravel()))


def nearness(label_map: NDArray[np.generic], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Minus the distance in mm to the nearest voxel of any class; depth in mm inside; 0 where there is no class."""
    inside = label_map != 0
    if not inside.any() or inside.all():
        return np.zeros(label_map.shape)
    depth = ndimage.distance_transform_edt(inside, spacing_mm)
    distance = ndimage.distance_transform_edt(~inside, spacing_mm)
    found: NDArray[np.float64] = depth - distance
    return found


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
