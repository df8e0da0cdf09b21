"""Resample values from the grid of a scan to the grid of the network, and back.

The grid of the network has the axes of the scan, in the order and direction nearest to RAS+ (right, front, top), as
``orientation.py`` chooses them, and a voxel size of its own. It is cropped to a box. Scan and box therefore differ axis
by axis. Where their voxels coincide, values are copied bit for bit. Elsewhere they are interpolated linearly, or,
if the network's voxels are larger, averaged over them. Thick slices stay as they are.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.scans.orientation import Stack, nearest_axes

TOLERANCE = 1e-3  # in voxels; grids that differ by less over a whole axis are treated as equal
AT_ONCE = 2**21  # values that are resampled at a time
DECIMALS = 6  # kept of positions and steps: further ones depend on the storage order of the scan
OWN_SLICES = (0.45, 2.2)  # steps along thick slices at which they are not resampled
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class ScanGrid:
    """Position of a box of the network's grid in a scan.

    All attributes are given along the RAS+ axes. Along axis a, voxel n of the box is at position
    ``(start[a] + n) * step[a]`` of the scan, where 0 is the centre of the scan's first voxel along that RAS+ axis.
    """

    order: tuple[int, int, int]  # array axis of the scan that is nearest to each RAS+ axis
    flipped: tuple[bool, bool, bool]  # whether that array axis runs against the RAS+ axis
    scan: Grid  # number of voxels of the scan
    scan_mm: tuple[float, float, float]  # voxel size of the scan
    step: tuple[float, float, float]  # from a voxel of the network's grid to the next, in voxels of the scan
    start: Grid  # number of voxels of the network's grid before the box
    grid: Grid  # number of voxels of the box

    def orient(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view of values (..., I, J, K), stored as in the scan, along the RAS+ axes."""
        return self._flip(values.transpose(*range(values.ndim - 3), *(axis - 3 for axis in self.order)))

    def as_stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view of values along the RAS+ axes in the storage order of the scan: the inverse of ``orient``."""
        inverse = (self.order.index(axis) - 3 for axis in range(3))
        return self._flip(values).transpose(*range(values.ndim - 3), *inverse)

    def _flip(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view with the flipped axes reversed. The last three axes of the values are the RAS+ axes."""
        return np.flip(values, tuple(axis - 3 for axis in range(3) if self.flipped[axis]))

    def cut(self, bounds: Sequence[tuple[int, int]]) -> "ScanGrid":
        """Return the position of a smaller box: from start to stop, in voxels of this box, along each axis."""
        first, stop = zip(*bounds, strict=True)
        start = tuple(s + f for s, f in zip(self.start, first, strict=True))
        return replace(self, start=start, grid=tuple(b - a for a, b in zip(first, stop, strict=True)))

    def rows_for(self, rows: slice) -> tuple[int, int]:
        """Return the rows (start, stop; second RAS+ axis) of the box from which rows of the scan are interpolated."""
        ends = (row / self.step[1] - self.start[1] for row in (rows.start, rows.stop - 1))
        first, last = (round(end, DECIMALS) for end in ends)
        start = min(max(math.floor(first), 0), self.grid[1] - 1)
        return start, min(max(math.ceil(last) + 1, start + 1), self.grid[1])

    def covered(self, axis: int) -> slice:
        """Return the voxels of the scan along a RAS+ axis whose centres are in voxels of the box."""
        start, step = self.start[axis], self.step[axis]
        low, high = (start - 0.5 - TOLERANCE) * step, (start + self.grid[axis] - 0.5 + TOLERANCE) * step
        return slice(max(math.ceil(low), 0), min(math.floor(high) + 1, self.scan[axis]))

    def planes_back(self, values: int, rows: slice) -> int:
        """Return how many planes of the scan to resample at a time: ``values`` per voxel, in ``rows`` of the scan."""
        start, stop = self.rows_for(rows)
        in_scan, in_box = (rows.stop - rows.start) * self.scan[2], (stop - start) * self.grid[2] / self.step[0]
        return planes_at_once(values * max(in_scan, in_box))


def fit_grid(
    affine: NDArray[np.float64], grid: Grid, spacing_mm: Sequence[float], stack: Stack | None = None
) -> ScanGrid:
    """Return the network's grid over a whole scan.

    Along each RAS+ axis, its first voxel coincides with the first voxel of the scan. Its last voxel is at most half of
    its own voxel size away from the last voxel of the scan. Thick slices are resampled only if they are more than 2.2
    times as thick, or as thin, as the voxels of the network's grid.

    Args:
        affine: 4 x 4, from voxel (i, j, k) of the scan to RAS+ mm.
        grid: number of voxels of the scan, (I, J, K).
        spacing_mm: voxel size of the network's grid along the RAS+ axes.
        stack: how the thick slices of the dataset lie; None if it has none.
    """
    order, flipped, stacked = nearest_axes(affine, stack)
    scan_mm = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    steps, sizes = [], []
    for axis, source in enumerate(order):
        step = round(float(spacing_mm[axis]) / scan_mm[source], DECIMALS)
        own = stack is not None and stacked and axis == stack.axis and OWN_SLICES[0] < step < OWN_SLICES[1]
        if own or abs(step - 1) * grid[source] < TOLERANCE:
            step = 1.0
        steps.append(step)
        sizes.append(round((grid[source] - 1) / step + 1))
    i, j, k = order
    return ScanGrid(
        order=order,
        flipped=flipped,
        scan=(grid[i], grid[j], grid[k]),
        scan_mm=(scan_mm[i], scan_mm[j], scan_mm[k]),
        step=(steps[0], steps[1], steps[2]),
        start=(0, 0, 0),
        grid=(sizes[0], sizes[1], sizes[2]),
    )


def planes_at_once(plane_values: float) -> int:
    """Return how many planes to process at a time, from the number of values in a plane."""
    return max(int(AT_ONCE / max(plane_values, 1)), 1)


def resample_to_grid(values: NDArray[Any], scan_grid: ScanGrid) -> Tensor:
    """Resample values (C, I, J, K) of a scan to (C, *scan_grid.grid), float32 on RAS+ axes, some planes at a time."""
    oriented = scan_grid.orient(values)
    order = sorted(range(3), key=lambda axis: scan_grid.step[axis], reverse=True)
    in_scan, in_box = math.prod(scan_grid.scan[1:]) * scan_grid.step[0], math.prod(scan_grid.grid[1:])
    planes = planes_at_once(len(values) * max(in_scan, in_box))
    positions = [
        (torch.arange(n, dtype=torch.float64) + start) * step
        for n, start, step in zip(scan_grid.grid, scan_grid.start, scan_grid.step, strict=True)
    ]
    result = torch.empty((len(values), *scan_grid.grid), dtype=torch.float32)
    for first in range(0, scan_grid.grid[0], planes):
        wanted = positions[0][first : first + planes]
        reach = max(scan_grid.step[0], 1.0) / 2 + 0.5
        begin = min(max(math.ceil(float(wanted[0]) - reach), 0), scan_grid.scan[0] - 1)
        # torch takes no negative strides; ascontiguousarray would keep those of an axis with one voxel.
        needed = oriented[:, begin : math.floor(float(wanted[-1]) + reach) + 1].copy()
        result[:, first : first + planes] = _interpolate(
            torch.from_numpy(needed), [wanted - begin, *positions[1:]], order, scan_grid.step
        )
    return result


def resample_to_scan(
    box_planes: Iterable[Tensor], scan_grid: ScanGrid, outside: Tensor, rows: slice, planes: int
) -> Iterator[Tensor]:
    """Resample values of the box to the scan, as soon as the planes of the box that they need have arrived.

    Args:
        box_planes: chunks (C, p, *scan_grid.grid[1:]) float32 of the box, in order along its first axis.
        scan_grid: position of the box in the scan.
        outside: (C,), values for voxels of the scan outside the box, on the device of the chunks.
        rows: rows of the scan to return, along the second RAS+ axis.
        planes: planes of the scan in a chunk that is returned.

    Yields:
        Chunks (C, p, rows, scan_grid.scan[2]) float32 of the scan, along the RAS+ axes. The last may have fewer planes.
    """
    covered = [scan_grid.covered(axis) for axis in range(3)]
    top, bottom = max(rows.start, covered[1].start), min(rows.stop, covered[1].stop)
    covered[1] = slice(top, max(top, bottom))
    covered_rows = slice(top - rows.start, covered[1].stop - rows.start)
    order = sorted(range(3), key=lambda axis: scan_grid.step[axis])
    positions = [
        torch.arange(inside.start, inside.stop, dtype=torch.float64) / step - start
        for inside, step, start in zip(covered, scan_grid.step, scan_grid.start, strict=True)
    ]
    source, kept, start = iter(box_planes), outside.new_empty((len(outside), 0, *scan_grid.grid[1:])), 0
    for first in range(0, scan_grid.scan[0], planes):
        last = min(first + planes, scan_grid.scan[0])
        chunk = outside.view(-1, 1, 1, 1).expand(-1, last - first, rows.stop - rows.start, scan_grid.scan[2]).clone()
        low, high = max(first, covered[0].start), min(last, covered[0].stop)
        if low < high and top < bottom:
            wanted = positions[0][low - covered[0].start : high - covered[0].start]
            begin = max(int(wanted[0].floor()), 0)
            stop = min(int(wanted[-1].floor()) + 2, scan_grid.grid[0])
            while start + kept.shape[1] < stop:
                kept = torch.cat([kept, next(source)], dim=1)
            kept, start = kept[:, begin - start :], begin  # no earlier plane is needed again
            values = _interpolate(kept[:, : stop - begin], [wanted - begin, *positions[1:]], order)
            chunk[:, low - first : high - first, covered_rows, covered[2]] = values
        yield chunk


def _interpolate(
    values: Tensor, positions: Sequence[Tensor], order: Sequence[int], widths: Sequence[float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """Interpolate values (C, *S) at all combinations of positions; average them along axes with a width above 1.

    Positions are in voxels; those before the first or behind the last voxel get its value. The result is float32. The
    order of the axes affects the last bit: the axis that shrinks most comes first, because this is fastest.
    """
    for axis in order:
        if widths[axis] > 1:
            values = _average_axis(values, 1 + axis, positions[axis], widths[axis])
        else:
            values = _interpolate_axis(values, 1 + axis, positions[axis])
    return values.float()


def _interpolate_axis(values: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Interpolate linearly along one axis. Return a view if the positions are neighbouring voxels."""
    last = values.shape[axis] - 1
    positions = positions.round(decimals=DECIMALS)  # a position on a voxel gets exactly the value of this voxel
    below = positions.floor().clamp(0, last)
    fraction = (positions - below).clamp(0, 1)
    first = int(below[0]) if len(below) else 0
    if torch.equal(positions, torch.arange(first, first + len(positions), dtype=positions.dtype)):
        return values.narrow(axis, first, len(positions))
    index, shape = below.long(), [1] * values.ndim
    shape[axis] = -1
    indices = (i.to(values.device) for i in (index, (index + 1).clamp(max=last)))
    near, far = (values.index_select(axis, i).float() for i in indices)
    return torch.lerp(near, far, fraction.float().view(shape).to(values.device))


def _average_axis(values: Tensor, axis: int, positions: Tensor, width: float) -> Tensor:
    """Average along one axis over ``width`` voxels around each position; a voxel counts with the share that is covered.

    With a width of 1 this would be linear interpolation. Voxels outside do not exist and do not count.
    """
    n = values.shape[axis]
    positions = positions.round(decimals=DECIMALS)
    low, high = positions - width / 2, positions + width / 2
    first = (low + 0.5).floor()
    shape = [1] * values.ndim
    shape[axis] = -1
    voxels = first + torch.arange(math.ceil(width) + 1, dtype=low.dtype)[:, None]
    shares = (torch.minimum(voxels + 0.5, high) - torch.maximum(voxels - 0.5, low)).clamp(min=0)
    shares[(voxels < 0) | (voxels >= n)] = 0
    shares = (shares / shares.sum(dim=0)).float().to(values.device)
    middle = values.index_select(axis, positions.round().long().clamp(0, n - 1).to(values.device)).float()
    result = middle.clone()
    for voxel, share in zip(voxels.long().clamp(0, n - 1).to(values.device), shares, strict=True):
        result += (values.index_select(axis, voxel).float() - middle) * share.view(shape)  # exact if all are the same
    return result
