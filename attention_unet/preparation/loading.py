"""Load batches of patches: processes read boxes, and the network's device augments them.

The augmentation of a patch is the same on every device, except for the noise: a CPU and a GPU draw other numbers.
"""

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from attention_unet.preparation.augmentation import Augmentation, IntensityChange, PatchTransform
from attention_unet.preparation.intensity import send
from attention_unet.preparation.patches import Patch, PatchDataset

BATCHES_IN_A_ROW = 4  # batches augmented together: only the first is slow, after the network has filled the caches


@dataclass(frozen=True)
class PackedBatch:
    """Patches of a batch in one tensor each for images and targets, which one copy brings to a GPU."""

    images: Tensor  # values of all boxes, one box after another, float32
    targets: Tensor  # the same of the targets, uint8
    shapes: tuple[list[torch.Size], list[torch.Size]]  # shape of each image, and of each target
    transforms: list[PatchTransform]  # spatial transform of each patch
    change: IntensityChange  # intensity change of the batch
    annotated: NDArray[np.bool_]  # whether each class is annotated (B, K)

    def pin_memory(self) -> "PackedBatch":
        """Return the batch in memory from which a GPU copies while others work. The ``DataLoader`` calls this."""
        return replace(self, images=self.images.pin_memory(), targets=self.targets.pin_memory())


class Batch(NamedTuple):
    """Augmented patches on the network's device."""

    image: Tensor  # (B, C, *patch) float32
    target: Tensor  # (B, T, *patch) uint8; 255 is ignored
    # Whether each class is annotated (B, K): the background may hold voxels of one that is not; None if all are.
    annotated: Tensor | None = None


def load_patches(
    patches: PatchDataset, numbers: Iterator[list[int]], workers: int | None, device: torch.device
) -> Iterator[Batch]:
    """Yield augmented batches on the device, without end.

    ``numbers`` are the patch numbers of each batch. ``workers`` processes read patches, by default 0 on a CPU and 4 on
    a GPU; with 0, this process reads them.
    """
    if workers is None:
        workers = 0 if device.type == "cpu" else 4
    loader = DataLoader(
        patches,
        batch_sampler=numbers,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_signals_to_training,
        collate_fn=pack,
        pin_memory=device.type == "cuda",  # without it, a copy to the GPU waits for the step before
        generator=torch.Generator(),  # without it, the random state of a resumed training would change
    )
    batches = iter(loader)
    while True:
        some = itertools.islice(batches, BATCHES_IN_A_ROW if device.type == "cpu" else 1)
        yield from [augment(batch, patches.augmentation, device) for batch in some]


def pack(patches: Sequence[Patch]) -> PackedBatch:
    """Pack the patches of a batch."""
    return PackedBatch(
        images=torch.cat([p.image.flatten() for p in patches]),
        targets=torch.cat([p.target.flatten() for p in patches]),
        shapes=([p.image.shape for p in patches], [p.target.shape for p in patches]),
        transforms=[p.transform for p in patches],
        change=IntensityChange(*(np.stack(parts) for parts in zip(*(p.change for p in patches), strict=True))),
        annotated=np.stack([p.annotated for p in patches]),
    )


def augment(batch: PackedBatch, augmentation: Augmentation, device: torch.device) -> Batch:
    """Return the augmented patches of a batch on the device, without waiting for a GPU."""
    images = _unpack(batch.images, batch.shapes[0], device)
    targets = _unpack(batch.targets, batch.shapes[1], device)
    transformed = map(augmentation.transform_patch, images, targets, batch.transforms)
    image, target = (torch.stack(parts) for parts in zip(*transformed, strict=True))
    annotated = None if batch.annotated.all() else send(torch.from_numpy(batch.annotated), device)
    return Batch(augmentation.change_intensity(image, batch.change), target, annotated)


def _unpack(values: Tensor, shapes: Sequence[torch.Size], device: torch.device) -> list[Tensor]:
    """Return the boxes of packed values, on the device."""
    boxes = torch.split(send(values, device), [shape.numel() for shape in shapes])
    return [box.view(shape) for box, shape in zip(boxes, shapes, strict=True)]


def _leave_signals_to_training(worker: int) -> None:
    """Leave signals to all processes of a group, as terminals, torchrun and SLURM send them, to the training process.

    A worker that they end would end the training before it has saved its state.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
