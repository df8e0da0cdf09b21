"""Resize attention maps of different cases to one common grid, so that they can be averaged or exchanged.

A map is NaN where no window was predicted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.layers.dimensions import interpolate_to
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.orientation import Stack
from attention_unet.scans.volumes import Volume

SIZE = 96  # voxels of the common grid along each axis of the network
Maps = Mapping[str, NDArray[np.float32]]  # by place, on the grid of a scan
CommonMaps = dict[str, Tensor]  # by place, on the common grid


def to_common_grid(maps: Maps, volume: Volume, stack: Stack | None) -> CommonMaps:
    """Resize the map (I, J, K) of each place to the common grid, (SIZE, SIZE, SIZE) along the axes of the network."""
    scan_grid = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0), stack)
    return {
        place: _resize(torch.from_numpy(scan_grid.orient(weights).copy()), (SIZE,) * 3)
        for place, weights in maps.items()
    }


def from_common_grid(maps: CommonMaps, volume: Volume, stack: Stack | None) -> dict[str, NDArray[np.float32]]:
    """Resize the map of each place from the common grid to that of a volume, (I, J, K) in its own order of axes.

    Unknown weights are replaced by the mean of the map: 0 would close a gate.
    """
    scan_grid = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0), stack)
    known = {place: torch.where(weights.isnan(), weights.nanmean(), weights) for place, weights in maps.items()}
    return {place: scan_grid.as_stored(_resize(weights, scan_grid.scan).numpy()) for place, weights in known.items()}


def mean_maps(cases: Sequence[CommonMaps]) -> CommonMaps:
    """Return the mean map of each place over the cases in which a voxel is known."""
    return {place: torch.stack([maps[place] for maps in cases]).nanmean(dim=0) for place in cases[0]}


def _resize(values: Tensor, grid: Sequence[int]) -> Tensor:
    return interpolate_to(values[None, None].float(), tuple(grid))[0, 0]
