"""Delete voxels of a scan in the order of their attention, for a deletion curve.

Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", arXiv:1806.07421. There are two
controls: deletion of random blocks, and deletion by the distance to the model's own prediction, without attention.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.integrate import trapezoid

from attention_unet.scans.volumes import Volume

SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)  # shares of the predicted voxels that are deleted


def rank_voxels(weights: NDArray[np.floating], random: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the flat indices of the voxels by falling weight, without those of weight NaN.

    Ties are ordered by random numbers.
    """
    order = np.lexsort((random.ravel(), -weights.ravel()))
    return order[: np.count_nonzero(~np.isnan(weights))]  # NaN is sorted last


def signed_distance(label_map: NDArray[np.generic], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Return the signed distance in mm of each voxel to the border of the classes.

    In a class it is the distance to the nearest background voxel. In the background it is minus the distance to the
    nearest voxel of a class. It is 0 everywhere if there is no class or no background.
    """
    inside = label_map != 0
    if not inside.any() or inside.all():
        return np.zeros(label_map.shape)
    depth = ndimage.distance_transform_edt(inside, spacing_mm)
    return depth - ndimage.distance_transform_edt(~inside, spacing_mm)


def random_blocks(grid: Sequence[int], block: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Return random weights (I, J, K) that are constant in each block."""
    coarse = np.random.default_rng(seed).random([-(-n // edge) for n, edge in zip(grid, block, strict=True)])
    return np.kron(coarse, np.ones(block)).astype(np.float64)[tuple(map(slice, grid))]


def delete_voxels(volume: Volume, order: NDArray[np.intp], share: float) -> Volume:
    """Return the scan with a share of the ordered voxels, the first, set to the mean of their channel."""
    array = volume.array.copy()
    for channel in array:
        channel.ravel()[order[: round(share * len(order))]] = channel.mean()
    return replace(volume, array=array)


def mean_height(values: Sequence[float]) -> float:
    """Return the mean height of a curve over ``SHARES``: its area divided by its width."""
    return float(trapezoid(values, SHARES) / (SHARES[-1] - SHARES[0]))
