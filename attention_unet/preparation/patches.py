"""Training patches. Patch number n is the same in any number of processes, before and after a resume: all that is
random about it follows from the seed and n alone. Only the noise added to it differs between a CPU and a GPU."""

import itertools
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from attention_unet.config import AugmentationConfig
from attention_unet.preparation.augmentation import Augmentation, Change, PatchTransform
from attention_unet.preparation.cache import CachedCase
from attention_unet.preparation.plan import Plan

BATCHES_IN_A_ROW = 4  # are made: the first finds the caches of the processor full of the network, the others do not


class Patch(NamedTuple):
    """A patch and what is still to be done to it, on the network's device.

    Attributes:
        image: (C, *reach) float32: the patch and what lies about it as far as its transform looks.
        target: (T, *reach) uint8.
        transform: of the patch in these.
        change: of its values.
    """

    image: Tensor
    target: Tensor
    transform: PatchTransform
    change: Change


class PatchDataset(Dataset[Patch]):
    """Endless patches, by number.

    Args:
        cases: prepared cases to draw from; every case is shown once before one is shown again.
        plan: of the patches.
        foreground_share: share of patches centred on a voxel of a class.
        augmentation: random changes.
        seed: of everything.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        plan: Plan,
        foreground_share: float,
        augmentation: AugmentationConfig,
        seed: int,
    ) -> None:
        self.cases = cases
        self.patch = plan.patch
        self.slice_axis = plan.slice_axis
        self.foreground_share = foreground_share
        self.augmentation = Augmentation(augmentation, plan)
        self.seed = seed
        self._shuffled: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, number: int) -> Patch:
        """Patch ``number``."""
        random = np.random.RandomState(np.random.PCG64([self.seed, number]))  # its own generator takes longer to seed
        epoch, place = divmod(number, len(self.cases))
        case = self.cases[int(self._order(epoch)[place])]
        start = box_start(self._draw_centre(case, random), self.patch, case.image.shape[1:])
        transform = self.augmentation.draw_transform(random)
        reach = transform.reach(self.augmentation.patch)
        if self.slice_axis is not None:
            reach.insert(self.slice_axis, 1)
        if transform.moved:  # no farther than the case goes; what lies beyond is 0 anyway
            ends = [
                max(2 * s + edge, 2 * (n - s) - edge)
                for s, edge, n in zip(start, self.patch, case.image.shape[1:], strict=True)
            ]
            reach = [min(far, end) for far, end in zip(reach, ends, strict=True)]
        start = [s + (edge - far) // 2 for s, far, edge in zip(start, reach, self.patch, strict=True)]
        image, target = (torch.from_numpy(cut(array, start, reach)) for array in (case.image, case.target))
        if self.slice_axis is not None:
            image, target = image.squeeze(1 + self.slice_axis), target.squeeze(1 + self.slice_axis)
        return Patch(image, target, transform, self.augmentation.draw_change(random))

    def case_of(self, number: int) -> str:
        """Id of the case that patch ``number`` is of."""
        epoch, place = divmod(number, len(self.cases))
        return self.cases[int(self._order(epoch)[place])].id

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._shuffled[0] != epoch:
            random = np.random.RandomState([self.seed, epoch % 2**32, 1])
            self._shuffled = (epoch, random.permutation(len(self.cases)))
        return self._shuffled[1]

    def _draw_centre(self, case: CachedCase, random: np.random.RandomState) -> list[int]:
        """Centre of the patch: on a voxel of a class drawn at equal odds, or anywhere that keeps the patch inside."""
        if len(case.locations) and random.uniform() < self.foreground_share:
            wanted = random.choice(np.flatnonzero(np.bincount(case.locations[:, 0])))
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


def load_patches(
    patches: PatchDataset, numbers: ShareOfNumbers, workers: int | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images (B, C, *patch) and targets (B, T, *patch), changed and on the device, without end.

    Args:
        patches: to take.
        numbers: which of them, batch after batch.
        workers: processes that read them; 0 reads them in this one; None for what suits the device.
        device: to change them on.
    """
    if workers is None:
        workers = 0 if device.type == "cpu" else 4
    loader = DataLoader(
        patches,
        batch_sampler=numbers,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_interrupts,
        collate_fn=list,  # the boxes they were cut from differ in size
        generator=torch.Generator(),  # or it would draw from the one that a resumed training goes on with
    )
    read = iter(loader)
    while True:
        yield from [_made(batch, patches.augmentation, device) for batch in itertools.islice(read, BATCHES_IN_A_ROW)]


def _made(batch: Sequence[Patch], augmentation: Augmentation, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch of patches as tensors on the device, with all that was to be done to them."""
    placed = [augmentation.place(p.image.to(device), p.target.to(device), p.transform) for p in batch]
    image, target = (torch.stack(parts) for parts in zip(*placed, strict=True))
    change = Change(*(np.stack(parts) for parts in zip(*(p.change for p in batch), strict=True)))
    return augmentation.change(image, change), target


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C and hanging up go to every process of a terminal; the training process alone decides what follows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
