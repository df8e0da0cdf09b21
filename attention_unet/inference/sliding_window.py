"""Sliding window over a prepared volume: pure tensors, and of the result no more held than a window is deep."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.scans.geometry import planes_at_once

EVERY_PLANE = (slice(None), slice(None))  # and channel

# What a window predictor gives for windows (B, C, *window): values (B, K, *window), such as probabilities.
WindowPredictor = Callable[[Tensor], Tensor]


def slide(
    image: Tensor,
    window: Sequence[int],
    predict: WindowPredictor,
    *,
    unseen: Tensor,
    air: Tensor | None = None,
    overlap: float = 0.5,
    rows: tuple[int, int] | None = None,
    batch: int = 2,
) -> Iterator[Tensor]:
    """Predict a volume by overlapping windows, averaged with Gaussian weights that trust the middle of a window most.

    Planes across the first axis are given away as soon as no further window will reach them, so that only as many as a
    window is deep are held. A volume smaller than the window is padded evenly with 0 (the mean of a z-scored image), as
    training patches are, and cut back.

    Args:
        image: (C, *S).
        window: voxels of a window an axis.
        predict: what predicts a batch of windows.
        unseen: (K,), the values of voxels that no predicted window covers.
        air: (C,), the values of a voxel that shows nothing. Windows of nothing else are not predicted.
        overlap: share of a window that the next one covers again, 0 to below 1.
        rows: (start, stop) along the second axis of what is wanted; all if None. No more is held than these take.
        batch: windows predicted at once.

    Yields:
        Planes (K, p, rows, S[2]) float32, one after another.
    """
    grid = image.shape[1:]
    padded = [max(n, edge) for n, edge in zip(grid, window, strict=True)]
    before = [(p - n) // 2 for p, n in zip(padded, grid, strict=True)]
    starts, *others = (window_starts(n, edge, overlap) for n, edge in zip(padded, window, strict=True))
    top, bottom = (before[1] + row for row in rows or (0, grid[1]))
    in_plane = [
        _Box(j, k, window, top, bottom) for j, k in itertools.product(*others) if j < bottom and top < j + window[1]
    ]
    weight, unseen = gaussian(tuple(window)).to(image.device), unseen.to(image.device).view(-1, 1, 1, 1)
    empty = None if air is None else air.to(image.device).view(-1, 1, 1, 1).expand(-1, *window)
    sums = torch.zeros((len(unseen), window[0], bottom - top, padded[2]), device=image.device)
    total = torch.zeros((1, *sums.shape[1:]), device=image.device)
    columns = slice(before[2], before[2] + grid[2])
    planes = planes_at_once(sums[:, 0].numel())
    for start, following in zip(starts, [*starts[1:], padded[0]], strict=True):
        slab = _padded(image[:, start : start + window[0]], (window[0], *padded[1:]), before)
        shown = [box for box in in_plane if empty is None or not torch.equal(slab[box.seen], empty)]
        for first in range(0, len(shown), batch):
            boxes = shown[first : first + batch]
            _add(predict(torch.stack([slab[box.seen] for box in boxes])), weight, boxes, sums, total)
        passed = following - start
        first, stop = max(before[0] - start, 0), min(before[0] - start + grid[0], passed)  # without the padding
        for plane in range(first, stop, planes):
            part = (slice(None), slice(plane, min(plane + planes, stop)), slice(None), columns)
            yield torch.where(total[part] > 0, sums[part] / total[part], unseen)
        _advance(sums, passed)
        _advance(total, passed)


class _Box:
    """A window between the planes of its row of windows, cut to the rows from ``top`` to ``bottom``.

    Attributes:
        seen: all of it, in the planes.
        wanted: what lies in the rows, of the window.
        place: of that, in the rows.
    """

    def __init__(self, j: int, k: int, window: Sequence[int], top: int, bottom: int) -> None:
        first, stop = max(j, top), min(j + window[1], bottom)
        columns = slice(k, k + window[2])
        self.seen = (*EVERY_PLANE, slice(j, j + window[1]), columns)
        self.wanted = (*EVERY_PLANE, slice(first - j, stop - j))
        self.place = (*EVERY_PLANE, slice(first - top, stop - top), columns)


def window_starts(n: int, edge: int, overlap: float) -> list[int]:
    """First voxels of windows along an axis of ``n`` voxels: evenly spread, the first at 0, the last ending at n."""
    if n <= edge:
        return [0]
    step = max(edge * (1 - overlap), 1.0)
    count = -int(-(n - edge) // step) + 1
    return [round(i * (n - edge) / (count - 1)) for i in range(count)]


@functools.cache
def gaussian(window: tuple[int, ...]) -> Tensor:
    """Weights of a window (*window): a Gaussian of standard deviation an eighth of each edge, from 1e-3 to 1."""
    weight = torch.ones(())
    for edge in window:
        distance = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (distance / (edge / 8)) ** 2)
    return (weight / weight.max()).clamp(min=1e-3)


def _padded(planes: Tensor, size: Sequence[int], before: Sequence[int]) -> Tensor:
    """Planes (C, *S) with zeros around them, as large as ``size``; themselves where they are."""
    sides = [(b, wanted - n - b) for n, wanted, b in zip(planes.shape[1:], size, before, strict=True)]
    return F.pad(planes, [n for side in reversed(sides) for n in side]) if any(map(any, sides)) else planes


def _add(predicted: Tensor, weight: Tensor, boxes: Sequence[_Box], sums: Tensor, total: Tensor) -> None:
    """Add what was predicted of windows, by weight; in a function of its own, so that none is held any longer."""
    for box, values in zip(boxes, predicted, strict=True):
        sums[box.place].addcmul_(values[box.wanted], weight[box.wanted[1:]])
        total[box.place] += weight[box.wanted[1:]]


def _advance(planes: Tensor, passed: int) -> None:
    """Move planes (K, depth, *S) forward in place, and put zeros after them."""
    depth = planes.shape[1]
    for first in range(0, depth - passed, passed):  # in parts that do not overlap
        stop = min(first + passed, depth - passed)
        planes[:, first:stop] = planes[:, first + passed : stop + passed]
    planes[:, depth - passed :] = 0
