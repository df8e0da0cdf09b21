"""Draw training patches by number.

Patch n depends on the seed and n alone, so it is the same in any number of processes and after a resume.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from attention_unet.config import AugmentationConfig
from attention_unet.dataset.synthetic_scan import synthesize_image
from attention_unet.preparation.augmentation import Augmentation, IntensityChange, PatchTransform
from attention_unet.preparation.cache import CachedCase
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import IGNORED

# How often the voxels of a case are trained on, on average, before its patches are changed as often as configured.
# Until then, the share of changed patches rises from 0 in proportion. Why: docs/experiments.md, 2026-11-28.
FULL_AFTER = 12
V = TypeVar("V", bound=np.generic)


class Patch(NamedTuple):
    """Patch with the augmentation that is still to be applied on the network's device."""

    image: Tensor  # (C, *source_size) float32, the box of the case that the transform samples
    target: Tensor  # (T, *source_size) uint8
    transform: PatchTransform  # spatial transform of the patch
    change: IntensityChange  # intensity change of the patch
    # Whether each class is annotated (K,). It is an array for the reason given in ``IntensityChange``.
    annotated: NDArray[np.bool_]


class PatchDataset(Dataset[Patch]):
    """Endless patches, by number."""

    def __init__(self, sampler: PatchSampler, plan: Plan, augmentation: AugmentationConfig) -> None:
        self.sampler, self.plan, self.synthesize = sampler, plan, augmentation.synthesize
        self.augmentation = Augmentation(augmentation, plan)

    def __getitem__(self, number: int) -> Patch:
        """Return patch ``number``."""
        patch, slice_axis = self.plan.patch, self.plan.slice_axis
        index, centre, random = self.sampler.draw(number)
        case = self.sampler.cases[index]
        grid = case.image.shape[1:]
        start = box_start(centre, patch, grid)
        inside = [min(edge / n, 1) for edge, n in zip(patch, grid, strict=True)]
        seen = (number + 1) / len(self.sampler.cases) * math.prod(inside)
        frequency = min(seen / FULL_AFTER, 1.0)  # of changes, as a share of the configured one
        transform = self.augmentation.draw_transform(random, frequency)
        size = transform.source_size(self.augmentation.patch)
        if slice_axis is not None:
            size.insert(slice_axis, 1)
        if transform.resampled:  # crop to the case: nothing is beyond it
            limits = [max(2 * s + edge, 2 * (n - s) - edge) for s, edge, n in zip(start, patch, grid, strict=True)]
            size = [min(n, limit) for n, limit in zip(size, limits, strict=True)]
        start = [s + (edge - n) // 2 for s, n, edge in zip(start, size, patch, strict=True)]
        synthetic = self.synthesize > 0 and random.uniform() < self.synthesize
        box = self._synthesize_image(case, start, size, random) if synthetic else cut_box(case.image, start, size)
        outside = 0 if self.plan.labels.ignore is None else IGNORED
        image, target = torch.from_numpy(box), torch.from_numpy(cut_box(case.target, start, size, outside))
        if slice_axis is not None:
            image, target = image.squeeze(1 + slice_axis), target.squeeze(1 + slice_axis)
        change = self.augmentation.draw_intensity(random, frequency, synthetic)
        return Patch(image, target, transform, change, case.annotated_classes)

    def _synthesize_image(
        self, case: CachedCase, start: Sequence[int], size: Sequence[int], random: np.random.RandomState
    ) -> NDArray[np.float32]:
        may_be_thick = self.plan.preprocessing.stack is None and self.plan.slice_axis is None
        regions, nonzero = cut_box(case.regions, start, size), self.plan.preprocessing.nonzero
        inside = cut_box(np.broadcast_to(np.float32(1), (1, *case.image.shape[1:])), start, size)
        return inside * synthesize_image(regions, case.region_counts, len(case.image), nonzero, may_be_thick, random)

    def case_of(self, number: int) -> str:
        """Return the case id of patch ``number``."""
        return self.sampler.cases[self.sampler.draw(number)[0]].id


def patch_numbers(first_step: int, batch: int, process: int, processes: int) -> Iterator[list[int]]:
    """Yield one process's patch numbers of each step, without end. The processes share each batch equally."""
    share = batch // processes
    for start in itertools.count(first_step * batch + process * share, batch):
        yield list(range(start, start + share))


def box_start(centre: Sequence[int], size: Sequence[int], grid: Sequence[int]) -> list[int]:
    """Return the first voxel of a box around a voxel: inside the grid, or centred on a grid that is smaller."""
    return [
        min(max(c - edge // 2, 0), n - edge) if n >= edge else -((edge - n) // 2)
        for c, edge, n in zip(centre, size, grid, strict=True)
    ]


def cut_box(array: NDArray[V], start: Sequence[int], size: Sequence[int], outside: int = 0) -> NDArray[V]:
    """Copy the box (C, *size) that begins at voxel ``start`` of (C, *S). Voxels outside the array get a value."""
    out = np.full((array.shape[0], *size), outside, dtype=array.dtype)
    source, target = [slice(None)], [slice(None)]
    for first, edge, n in zip(start, size, array.shape[1:], strict=True):
        low, high = max(first, 0), min(first + edge, n)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    out[tuple(target)] = array[tuple(source)]
    return out
