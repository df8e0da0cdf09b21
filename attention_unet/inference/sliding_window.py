"""Slide windows over a preprocessed volume, holding results only for as many planes as a window is deep."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.scans.geometry import planes_at_once

# Predicts windows (B, C, *window): values (B, K, *window), such as probabilities.
WindowPredictor = Callable[[Tensor], Tensor]


def slide(
    image: Tensor,
    window: Sequence[int],
    predict: WindowPredictor,
    *,
    unseen: Tensor,
    background: Tensor | None = None,
    overlap: float = 0.5,
    rows: tuple[int, int] | None = None,
    batch: int = 2,
    stack_axis: int | None = None,
) -> Iterator[Tensor]:
    """Predict a volume by overlapping windows, averaged with Gaussian weights that are highest in the middle.

    Planes across the first axis are yielded as soon as no further window reaches them. A volume smaller than the window
    is padded on both sides with 0, the mean of a z-scored image, as training patches are, and cropped again. Of a stack
    of slices, the first and the last one are repeated instead (docs/experiments.md, 2026-11-30).

    Args:
        image: (C, *S).
        window: window size in voxels, one number per axis.
        predict: predicts a batch of windows.
        unseen: (K,), values of voxels that no predicted window covers.
        background: (C,), values of an empty voxel. Windows with empty voxels only are not predicted.
        overlap: share of a window that the next one covers again, 0 to below 1.
        rows: (start, stop) along the second axis, to predict only these rows; None for all. Less memory is held then.
        batch: windows predicted at once.
        stack_axis: axis along which the slices of a stack follow each other; None if the image is no stack.

    Yields:
        Planes (K, p, rows, S[2]) float32, in order; p is the distance between windows, or less.
    """
    grid = image.shape[1:]
    padded = [max(n, edge) for n, edge in zip(grid, window, strict=True)]
    before = [(p - n) // 2 for p, n in zip(padded, grid, strict=True)]
    starts, *others = (window_starts(n, edge, overlap) for n, edge in zip(padded, window, strict=True))
    top, bottom = (before[1] + row for row in rows or (0, grid[1]))
    corners = [(j, k) for j, k in itertools.product(*others) if j < bottom and top < j + window[1]]
    weight, unseen = gaussian(tuple(window)).to(image.device), unseen.to(image.device).view(-1, 1, 1, 1)
    empty = None if background is None else background.to(image.device).view(-1, 1, 1, 1).expand(-1, *window)
    sums = torch.zeros((len(unseen), window[0], bottom - top, padded[2]), dtype=torch.float32, device=image.device)
    total = torch.zeros_like(sums[:1])
    columns = slice(before[2], before[2] + grid[2])
    planes = planes_at_once(sums[:, 0].numel())
    for start, following in zip(starts, [*starts[1:], padded[0]], strict=True):
        slices = _pad(image[:, start : start + window[0]], (window[0], *padded[1:]), before, stack_axis)
        windows = [(j, k, slices[:, :, j : j + window[1], k : k + window[2]]) for j, k in corners]
        shown = [each for each in windows if empty is None or not torch.equal(each[2], empty)]
        for first in range(0, len(shown), batch):
            together = shown[first : first + batch]
            _add(predict(torch.stack([values for _, _, values in together])), together, weight, top, sums, total)
        passed = following - start
        first, stop = max(before[0] - start, 0), min(before[0] - start + grid[0], passed)  # without padding
        for plane in range(first, stop, planes):
            part = (slice(None), slice(plane, min(plane + planes, stop)), slice(None), columns)
            yield torch.where(total[part] > 0, sums[part] / total[part], unseen)
        _advance(sums, passed)
        _advance(total, passed)


def window_starts(n: int, edge: int, overlap: float) -> list[int]:
    """Return the first voxels of windows along an axis of ``n`` voxels: equally spaced from 0 to the last window, which
    ends at n.
    """
    if n <= edge:
        return [0]
    step = max(edge * (1 - overlap), 1.0)
    count = -int(-(n - edge) // step) + 1
    return [round(i * (n - edge) / (count - 1)) for i in range(count)]


@functools.cache
def gaussian(window: tuple[int, ...]) -> Tensor:
    """Return weights (*window): a Gaussian with a standard deviation of an eighth of each edge, from 1e-3 to 1."""
    weight = torch.ones((), dtype=torch.float32)
    for edge in window:
        distance = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (distance / (edge / 8)) ** 2)
    return (weight / weight.max()).clamp(min=1e-3)


def _pad(planes: Tensor, size: Sequence[int], before: Sequence[int], repeated: int | None) -> Tensor:
    """Pad planes (C, *S) to a size, along one axis with copies of the outermost planes, along others with zeros.

    They are not copied if they have that size.
    """
    sides = [(b, wanted - n - b) for n, wanted, b in zip(planes.shape[1:], size, before, strict=True)]
    if repeated is not None and any(sides[repeated]):
        first, n = before[repeated], planes.shape[1 + repeated]
        numbers = torch.arange(size[repeated], device=planes.device) - first
        planes, sides[repeated] = planes.index_select(1 + repeated, numbers.clamp_(0, n - 1)), (0, 0)
    return F.pad(planes, [n for side in reversed(sides) for n in side]) if any(map(any, sides)) else planes


def _add(
    predicted: Tensor, windows: Sequence[tuple[int, int, Tensor]], weight: Tensor, top: int, sums: Tensor, total: Tensor
) -> None:
    """Add weighted predictions of windows (first row, first column, image) to sums of the rows from ``top`` on.

    This is a function of its own so that the predictions are freed at once.
    """
    _, height, width = weight.shape
    for (j, k, _), values in zip(windows, predicted, strict=True):
        low, high = max(top - j, 0), min(top + sums.shape[2] - j, height)  # of its own rows, those that are summed
        target = (slice(None), slice(None), slice(j + low - top, j + high - top), slice(k, k + width))
        sums[target].addcmul_(values[:, :, low:high], weight[:, low:high])
        total[target] += weight[:, low:high]


def _advance(planes: Tensor, passed: int) -> None:
    """Move planes (K, depth, *S) forward in place, and fill with zeros."""
    depth = planes.shape[1]
    for first in range(0, depth - passed, passed):  # in parts that do not overlap
        stop = min(first + passed, depth - passed)
        planes[:, first:stop] = planes[:, first + passed : stop + passed]
    planes[:, depth - passed :] = 0
