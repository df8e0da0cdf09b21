"""Training patches. Patch number n is the same on every machine, in any number of processes, before and after a resume:
all that is random about it follows from the seed and n alone."""

import signal
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from attention_unet.config import AugmentationConfig
from attention_unet.data.augmentation import appearance_change, margin, spatial_change
from attention_unet.data.cache import CachedCase


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Endless patches, by number.

    Args:
        cases: prepared cases to draw from; every case is shown once before one is shown again.
        patch: voxels along RAS+ axes.
        slice_axis: the axis that patches for a 2-D network lose; None in 3-D.
        foreground_share: share of patches centred on a voxel of a class.
        augmentation: random changes; None for none.
        seed: of everything.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        patch: tuple[int, int, int],
        slice_axis: int | None,
        foreground_share: float,
        augmentation: AugmentationConfig | None,
        seed: int,
    ) -> None:
        self.cases = cases
        self.foreground_share = foreground_share
        self.augmentation = augmentation
        self.seed = seed
        self.patch = patch
        self.slice_axis = slice_axis
        axes = tuple(axis for axis in range(3) if axis != slice_axis)
        if augmentation is not None:
            inner = tuple(patch[axis] for axis in axes)
            wide = list(patch)
            for axis, size in zip(axes, margin(augmentation, inner), strict=True):
                wide[axis] = size
            self.wide = tuple(wide)
            self.spatial = spatial_change(augmentation, inner)
            self.appearance = appearance_change(augmentation, axes)
        self._shuffled: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Patch ``number``: image (C, *S) float32 and target (T, *S) uint8."""
        random = np.random.RandomState([self.seed, number % 2**32])
        epoch, place = divmod(number, len(self.cases))
        case = self.cases[int(self._order(epoch)[place])]
        start = box_start(self._draw_centre(case, random), self.patch, case.image.shape[1:])
        moved = self.augmentation is not None and random.uniform() < self.augmentation.affine
        size = self.wide if moved else self.patch
        start = [s - (w - edge) // 2 for s, w, edge in zip(start, size, self.patch, strict=True)]
        image, target = torch.from_numpy(cut(case.image, start, size)), torch.from_numpy(cut(case.target, start, size))
        if self.slice_axis is not None:
            image, target = image.squeeze(1 + self.slice_axis), target.squeeze(1 + self.slice_axis)
        if self.augmentation is None:
            return image, target
        item = {"image": image, "target": target.float() if moved else target}
        for change in [self.spatial, self.appearance] if moved else [self.appearance]:
            change.set_random_state(seed=random.randint(2**31))
            item = change(item)
        return torch.as_tensor(item["image"]).float(), torch.as_tensor(item["target"]).to(torch.uint8)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._shuffled[0] != epoch:
            random = np.random.RandomState([self.seed, epoch % 2**32, 1])
            self._shuffled = (epoch, random.permutation(len(self.cases)))
        return self._shuffled[1]

    def _draw_centre(self, case: CachedCase, random: np.random.RandomState) -> list[int]:
        """Centre of the patch: on a voxel of a class drawn at equal odds, or anywhere that keeps the patch inside."""
        if len(case.locations) and random.uniform() < self.foreground_share:
            wanted = random.choice(np.unique(case.locations[:, 0]))
            rows = np.flatnonzero(case.locations[:, 0] == wanted)
            return [int(v) for v in case.locations[random.choice(rows), 1:]]
        return [
            edge // 2 + int(random.randint(n - edge + 1)) if n > edge else n // 2
            for n, edge in zip(case.image.shape[1:], self.patch, strict=True)
        ]


class ShareOfNumbers(Sampler[list[int]]):
    """Patch numbers of each step for one process: of every step's batch each process takes its own part.

    Args:
        first_step: step to begin with.
        batch: patches a step over all processes.
        process: number of this one.
        processes: how many there are; the batch must be a multiple of it.
    """

    def __init__(self, first_step: int, batch: int, process: int, processes: int) -> None:
        self.first_step = first_step
        self.batch = batch
        self.share = batch // processes
        self.process = process

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of one step after another, without end."""
        step = self.first_step
        while True:
            start = step * self.batch + self.process * self.share
            yield list(range(start, start + self.share))
            step += 1


def load_patches(patches: PatchDataset, numbers: ShareOfNumbers, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Loader of batches (B, C, *S) and (B, T, *S)."""
    return DataLoader(
        patches,
        batch_sampler=numbers,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_interrupts,
    )


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C goes to every process of a terminal; the training process alone decides what follows from it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def box_start(centre: Sequence[int], size: Sequence[int], grid: Sequence[int]) -> list[int]:
    """First voxel of a box about a voxel, moved inside the grid where it fits and centred on it where it does not."""
    return [
        min(max(c - edge // 2, 0), n - edge) if n >= edge else -((edge - n) // 2)
        for c, edge, n in zip(centre, size, grid, strict=True)
    ]


def cut(array: NDArray[np.generic], start: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
    """Copy the box (C, *size) that begins at voxel ``start`` out of (C, *S); beyond the array it is 0."""
    out = np.zeros((array.shape[0], *size), dtype=array.dtype)
    source, target = [slice(None)], [slice(None)]
    for first, edge, n in zip(start, size, array.shape[1:], strict=True):
        low, high = max(first, 0), min(first + edge, n)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    out[tuple(target)] = array[tuple(source)]
    return out
