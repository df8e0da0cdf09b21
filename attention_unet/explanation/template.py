"""Attention maps of different cases on one grid: what they have in common, and one in the place of another."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.volumes import Volume

EDGE = 96  # voxels of the common grid along each RAS+ axis
Maps = Mapping[int, NDArray[np.float32]]
Templates = dict[int, Tensor]


def to_templates(maps: Maps, volume: Volume) -> Templates:
    """Stretch the map of each level to the common grid.

    Args:
        maps: of each level (I, J, K), on the grid of the volume.
        volume: that they are of.

    Returns:
        Of each level (EDGE, EDGE, EDGE), along RAS+ axes.
    """
    scan_grid = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0))
    return {
        level: _stretch(torch.from_numpy(scan_grid.orient(weights).copy()), (EDGE,) * 3)
        for level, weights in maps.items()
    }


def from_templates(templates: Templates, volume: Volume) -> dict[int, NDArray[np.float32]]:
    """Stretch the map of each level from the common grid to that of a volume, in its order of axes (I, J, K)."""
    scan_grid = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0))
    return {
        level: scan_grid.as_stored(_stretch(template, scan_grid.scan).numpy()) for level, template in templates.items()
    }


def mean_of(templates: Sequence[Templates]) -> Templates:
    """Mean map of each level over several cases."""
    return {level: torch.stack([of[level] for of in templates]).mean(dim=0) for level in templates[0]}


def _stretch(values: Tensor, grid: Sequence[int]) -> Tensor:
    return F.interpolate(values[None, None].float(), tuple(grid), mode="trilinear", align_corners=False)[0, 0]
