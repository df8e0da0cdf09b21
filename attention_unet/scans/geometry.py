"""From a scan's grid to the network's and back again.

The network's grid has the axes of the scan in the order and direction nearest to RAS+ and voxels of a size of its own;
it is cut to a box. So the two differ axis by axis: where their voxels coincide values are copied bit for bit, elsewhere
they are interpolated linearly.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EXACT = 1e-3  # voxels over a whole axis; below it two grids are taken to coincide
AT_ONCE = 2**21  # numbers that are worked on at a time
DIGITS = 6  # of positions and of the ratio of two spacings, which differs beyond by the order that a scan is stored in
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class ScanGrid:
    """How a network's grid lies in the scan.

    Attributes:
        order: the scan's axis along each RAS+ axis.
        flipped: whether that runs against it.
        scan: voxels of the scan along RAS+ axes.
        step: from one voxel of the network's grid to the next, in voxels of the scan, along RAS+ axes.
        start: voxels of the network's grid before its box.
        grid: voxels of the box.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    scan: Grid
    step: tuple[float, float, float]
    start: Grid
    grid: Grid

    def orient(self, values: NDArray[Any]) -> NDArray[Any]:
        """View (..., I, J, K) of the scan along RAS+ axes."""
        return self._flip(values.transpose(*range(values.ndim - 3), *(axis - 3 for axis in self.order)))

    def as_stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """Inverse of ``orient``."""
        back = (self.order.index(axis) - 3 for axis in range(3))
        stored: NDArray[Any] = self._flip(values).transpose(*range(values.ndim - 3), *back)
        return stored

    def _flip(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.flip(values, tuple(axis - 3 for axis in range(3) if self.flipped[axis]))

    def cut(self, bounds: Sequence[tuple[int, int]]) -> "ScanGrid":
        """Of a smaller box, between (start, stop) of this one along each axis."""
        first, stop = zip(*bounds, strict=True)
        start = tuple(s + f for s, f in zip(self.start, first, strict=True))
        return replace(self, start=start, grid=tuple(b - a for a, b in zip(first, stop, strict=True)))

    def rows_for(self, rows: slice) -> tuple[int, int]:
        """Of the box, along its second axis, between which (start, stop) rows of the scan are interpolated."""
        ends = (row / self.step[1] - self.start[1] for row in (rows.start, rows.stop - 1))
        first, last = (round(end, DIGITS) for end in ends)
        start = min(max(math.floor(first), 0), self.grid[1] - 1)
        return start, min(max(math.ceil(last) + 1, start + 1), self.grid[1])

    def planes_back(self, values: int, rows: slice) -> int:
        """How many planes of the scan to put back at a time, of so many values a voxel, for a strip of its rows."""
        start, stop = self.rows_for(rows)
        of_scan, of_grid = (rows.stop - rows.start) * self.scan[2], (stop - start) * self.grid[2] / self.step[0]
        return planes_at_once(values * max(of_scan, of_grid))


def fit_grid(affine: NDArray[np.float64], grid: Grid, spacing_mm: Sequence[float]) -> ScanGrid:
    """A grid over all of a scan whose first voxel lies on the scan's and whose last within half a voxel of its last.

    Args:
        affine: of the scan.
        grid: of the scan, (I, J, K).
        spacing_mm: of the network's grid along RAS+ axes.
    """
    oriented = nib.io_orientation(affine)
    order = tuple(int(axis) for axis in oriented[:, 0].argsort())
    own_mm = np.linalg.norm(affine[:3, :3], axis=0)
    steps, edges = [], []
    for axis, source in enumerate(order):
        step = round(float(spacing_mm[axis] / own_mm[source]), DIGITS)
        if abs(step - 1) * grid[source] < EXACT:
            step = 1.0
        steps.append(step)
        edges.append(round((grid[source] - 1) / step + 1))
    i, j, k = order
    return ScanGrid(
        order=(i, j, k),
        flipped=tuple(bool(oriented[axis, 1] < 0) for axis in order),  # type: ignore[arg-type]
        scan=(grid[i], grid[j], grid[k]),
        step=(steps[0], steps[1], steps[2]),
        start=(0, 0, 0),
        grid=(edges[0], edges[1], edges[2]),
    )


def planes_at_once(numbers: float) -> int:
    """How many planes to work on at a time, for the numbers of one."""
    return max(int(AT_ONCE / max(numbers, 1)), 1)


def resample_to_grid(values: NDArray[Any], scan_grid: ScanGrid) -> Tensor:
    """Values (C, I, J, K) of a scan on the network's grid, (C, *grid) float32, made a few planes at a time."""
    oriented = scan_grid.orient(values)
    order = sorted(range(3), key=lambda axis: scan_grid.step[axis], reverse=True)
    of_scan, of_grid = math.prod(scan_grid.scan[1:]) * scan_grid.step[0], math.prod(scan_grid.grid[1:])
    planes = planes_at_once(len(values) * max(of_scan, of_grid))
    positions = [
        (torch.arange(n, dtype=torch.float64) + start) * step
        for n, start, step in zip(scan_grid.grid, scan_grid.start, scan_grid.step, strict=True)
    ]
    result = torch.empty((len(values), *scan_grid.grid))
    for first in range(0, scan_grid.grid[0], planes):
        wanted = positions[0][first : first + planes]
        begin = min(int(wanted[0]), scan_grid.scan[0] - 1)
        needed = oriented[:, begin : int(wanted[-1]) + 2].copy()  # of one plane, what runs backwards may stay so else
        result[:, first : first + planes] = _sample(torch.from_numpy(needed), [wanted - begin, *positions[1:]], order)
    return result


def resample_to_scan(
    finished: Iterable[Tensor],
    scan_grid: ScanGrid,
    outside: Tensor,
    rows: slice,
    planes: int,
) -> Iterator[Tensor]:
    """Values on the grid of the scan, a few planes at a time, as soon as those of the network's grid are there.

    Args:
        finished: planes (C, p, *grid[1:]) float32 of the network's grid, in order along its first axis.
        scan_grid: of the grid.
        outside: (C,), values of voxels of the scan that lie beyond the box.
        rows: of the scan along the second RAS+ axis that are wanted.
        planes: of the scan, at a time.

    Yields:
        (C, ``planes`` or what is left, rows, scan[2]) float32, along RAS+ axes.
    """
    covered = [_covered(scan_grid, axis) for axis in range(3)]
    top, bottom = max(rows.start, covered[1].start), min(rows.stop, covered[1].stop)
    covered[1] = slice(top, max(top, bottom))
    in_slab = slice(top - rows.start, covered[1].stop - rows.start)
    order = sorted(range(3), key=lambda axis: scan_grid.step[axis])
    positions = [
        torch.arange(inside.start, inside.stop, dtype=torch.float64) / step - start
        for inside, step, start in zip(covered, scan_grid.step, scan_grid.start, strict=True)
    ]
    arriving = _Arriving(finished, torch.empty((len(outside), 0, *scan_grid.grid[1:])))
    for first in range(0, scan_grid.scan[0], planes):
        last = min(first + planes, scan_grid.scan[0])
        slab = outside.view(-1, 1, 1, 1).expand(-1, last - first, rows.stop - rows.start, scan_grid.scan[2]).clone()
        low, high = max(first, covered[0].start), min(last, covered[0].stop)
        if low < high and top < bottom:
            wanted = positions[0][low - covered[0].start : high - covered[0].start]
            begin = max(int(wanted[0].floor()), 0)
            needed = arriving.between(begin, min(int(wanted[-1].floor()) + 2, scan_grid.grid[0]))
            values = _sample(needed, [wanted - begin, *positions[1:]], order)
            slab[:, low - first : high - first, in_slab, covered[2]] = values
        yield slab


class _Arriving:
    """Planes that come one after another, of which only those still needed are held."""

    def __init__(self, source: Iterable[Tensor], none: Tensor) -> None:
        self.source, self.held, self.first = iter(source), none, 0

    def between(self, first: int, stop: int) -> Tensor:
        """Planes from ``first``, never less than at the call before, to ``stop``."""
        while self.first + self.held.shape[1] < stop:
            passed = max(first - self.first, 0)
            self.first += min(passed, self.held.shape[1])
            self.held = torch.cat([self.held[:, passed:], next(self.source)], dim=1)
        return self.held[:, first - self.first : stop - self.first]


def _covered(scan_grid: ScanGrid, axis: int) -> slice:
    """Voxels of the scan whose centres lie in voxels of the box."""
    start, n, step = scan_grid.start[axis], scan_grid.grid[axis], scan_grid.step[axis]
    low, high = (start - 0.5 - EXACT) * step, (start + n - 0.5 + EXACT) * step
    return slice(max(math.ceil(low), 0), min(math.floor(high) + 1, scan_grid.scan[axis]))


def _sample(values: Tensor, positions: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Values (C, *S) at positions along each axis, float32; beyond the first and the last voxel, theirs.

    The order of the axes, best the one that shrinks most first, decides on the last bit.
    """
    for axis in order:
        values = _sample_axis(values, 1 + axis, positions[axis])
    return values.float()


def _sample_axis(values: Tensor, axis: int, positions: Tensor) -> Tensor:
    last = values.shape[axis] - 1
    positions = positions.round(decimals=DIGITS)  # so that a voxel that another lies on is not mixed with a third
    below = positions.floor().clamp(0, last)
    share = (positions - below).clamp(0, 1)
    first = int(below[0]) if len(below) else 0
    if torch.equal(positions, torch.arange(first, first + len(positions), dtype=positions.dtype)):
        return values.narrow(axis, first, len(positions))
    index = below.long()
    near, far = (values.index_select(axis, i).float() for i in (index, (index + 1).clamp(max=last)))
    shape = [1] * values.ndim
    shape[axis] = -1
    return torch.lerp(near, far, share.float().view(shape))


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box of a mask (I, J, K) that holds all of it; of no voxel where there is nothing."""
    across = np.logical_or.reduce(mask)
    occupied = mask.any(axis=(1, 2)), across.any(axis=1), across.any(axis=0)
    ends = [np.flatnonzero(of_axis)[[0, -1]] if mask.size and of_axis.any() else (0, -1) for of_axis in occupied]
    i, j, k = (slice(int(first), int(last) + 1) for first, last in ends)
    return i, j, k


def foreground_box(image: Tensor) -> list[tuple[int, int]]:
    """Bounds (start, stop) along each spatial axis of what is brighter than the darkest voxel of (C, *S); of a constant
    image the whole."""
    brighter = (image > image.amin(dim=(1, 2, 3), keepdim=True)).any(dim=0)
    mask: NDArray[np.bool_] = brighter.numpy()  # whose any is the faster one
    box = [(edge.start, edge.stop) for edge in box_of(mask)]
    return box if all(start < stop for start, stop in box) else [(0, n) for n in mask.shape]
