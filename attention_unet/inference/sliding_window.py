"""Sliding window over a prepared volume: pure tensors, and of the result no more held than a window is deep."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PLANES_AT_ONCE = 16
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
        batch: windows predicted at once.

    Yields:
        Planes (K, p, *S[1:]) float32, one after another.
    """
    grid = image.shape[1:]
    padded, before = _padded(image, window)
    starts, *others = (window_starts(n, edge, overlap) for n, edge in zip(padded.shape[1:], window, strict=True))
    in_plane = [
        tuple(slice(start, start + edge) for start, edge in zip(corner, window[1:], strict=True))
        for corner in itertools.product(*others)
    ]
    middle = tuple(slice(b, b + n) for b, n in zip(before[1:], grid[1:], strict=True))
    weight, unseen = gaussian(window).to(image.device), unseen.to(image.device).view(-1, 1, 1, 1)
    empty = None if air is None else air.to(image.device).view(-1, 1, 1, 1).expand(-1, *window)
    sums = torch.zeros((len(unseen), window[0], *padded.shape[2:]), device=image.device)
    total = torch.zeros((1, window[0], *padded.shape[2:]), device=image.device)
    for start, following in zip(starts, [*starts[1:], padded.shape[1]], strict=True):
        slab = padded[:, start : start + window[0]]
        shown = [box for box in in_plane if empty is None or not torch.equal(slab[EVERY_PLANE + box], empty)]
        for first in range(0, len(shown), batch):
            boxes = [EVERY_PLANE + box for box in shown[first : first + batch]]
            for box, values in zip(boxes, predict(torch.stack([slab[box] for box in boxes])), strict=True):
                sums[box] += values * weight
                total[box] += weight
        passed = following - start
        first, stop = max(before[0] - start, 0), min(before[0] - start + grid[0], passed)  # without the padding
        for plane in range(first, stop, PLANES_AT_ONCE):
            part = (slice(None), slice(plane, min(plane + PLANES_AT_ONCE, stop)), *middle)
            yield torch.where(total[part] > 0, sums[part] / total[part], unseen)
        _advance(sums, passed)
        _advance(total, passed)


def window_starts(n: int, edge: int, overlap: float) -> list[int]:
    """First voxels of windows along an axis of ``n`` voxels: evenly spread, the first at 0, the last ending at n."""
    if n <= edge:
        return [0]
    step = max(edge * (1 - overlap), 1.0)
    count = -int(-(n - edge) // step) + 1
    return [round(i * (n - edge) / (count - 1)) for i in range(count)]


def gaussian(window: Sequence[int]) -> Tensor:
    """Weights of a window (*window): a Gaussian of standard deviation an eighth of each edge, from 1e-3 to 1."""
    weight = torch.ones(())
    for edge in window:
        distance = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (distance / (edge / 8)) ** 2)
    return (weight / weight.max()).clamp(min=1e-3)


def _padded(image: Tensor, window: Sequence[int]) -> tuple[Tensor, list[int]]:
    """The image, no smaller than the window along any axis, and what was put before it."""
    short = [max(edge - n, 0) for edge, n in zip(window, image.shape[1:], strict=True)]
    before = [s // 2 for s in short]
    if not any(short):
        return image, before
    return F.pad(image, [p for s, b in reversed(list(zip(short, before, strict=True))) for p in (b, s - b)]), before


def _advance(planes: Tensor, passed: int) -> None:
    """Move planes (K, depth, *S) forward in place, and put zeros after them."""
    depth = planes.shape[1]
    for first in range(0, depth - passed, passed):  # in parts that do not overlap
        stop = min(first + passed, depth - passed)
        planes[:, first:stop] = planes[:, first + passed : stop + passed]
    planes[:, depth - passed :] = 0
