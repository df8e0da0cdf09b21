"""Sliding window over a prepared volume: pure tensors, no files."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

EVERY_CHANNEL = (slice(None),)

# What a window predictor gives for windows (B, C, *window): probabilities (B, K, *window), and by name further maps of
# one channel (B, 1, *window), such as attention.
WindowPredictor = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


def slide(
    image: Tensor,
    window: Sequence[int],
    predict: WindowPredictor,
    overlap: float = 0.5,
    batch: int = 4,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Predict a volume by overlapping windows, averaged with Gaussian weights that trust the middle of a window most.

    A volume smaller than the window is padded evenly with 0 (the mean of a z-scored image), as training patches are,
    and cut back.

    Args:
        image: (C, *S).
        window: voxels of a window an axis.
        predict: what predicts a batch of windows.
        overlap: share of a window that the next one covers again, 0 to below 1.
        batch: windows predicted at once.

    Returns:
        Probabilities (K, *S) float32, and each named map (1, *S) float32.
    """
    grid = image.shape[1:]
    short = [max(edge - n, 0) for edge, n in zip(window, grid, strict=True)]
    before = [s // 2 for s in short]
    padding = [p for s, b in reversed(list(zip(short, before, strict=True))) for p in (b, s - b)]
    padded = F.pad(image, padding)
    weight = gaussian(window).to(image.device)
    starts = list(
        itertools.product(*(window_starts(n, e, overlap) for n, e in zip(padded.shape[1:], window, strict=True)))
    )
    boxes = [tuple(slice(s, s + e) for s, e in zip(start, window, strict=True)) for start in starts]

    total = torch.zeros(padded.shape[1:], device=image.device)
    sums: dict[str, Tensor] = {}
    for first in range(0, len(boxes), batch):
        chosen = boxes[first : first + batch]
        probabilities, maps = predict(torch.stack([padded[EVERY_CHANNEL + box] for box in chosen]))
        for name, values in {"": probabilities, **maps}.items():
            if name not in sums:
                sums[name] = torch.zeros((values.shape[1], *padded.shape[1:]), device=image.device)
            for box, value in zip(chosen, values, strict=True):
                sums[name][EVERY_CHANNEL + box] += value.float() * weight
        for box in chosen:
            total[box] += weight
    inside = tuple(slice(b, b + n) for b, n in zip(before, grid, strict=True))
    averaged = {name: values.div_(total)[EVERY_CHANNEL + inside] for name, values in sums.items()}
    return averaged.pop(""), averaged


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
