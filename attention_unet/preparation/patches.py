"""Draw training patches by number.

Patch n depends on the seed and n alone, so it is the same in any number of processes and after a resume.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
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
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import IGNORED

# How often the voxels of a case are trained on, on average, before its patches are changed as often as configured.
# Until then, the share of changed patches rises from 0 in proportion. Why: docs/experiments.md, 2026-11-28.
FULL_AFTER = 12
ANYWHERE = 0.25  # share of the patches beside foreground_share that come from whole cases despite a locator
V = TypeVar("V", bound=np.generic)


class PatchSampler:
    """The cases and centres of endless patches, by number.

    Args:
        cases: preprocessed cases; every case is used once before one is used again, except with ``cases_of_class``.
        patch: voxels of a patch.
        foreground_share: share of patches centred on a voxel of a class.
        seed: seed of all random draws.
        margin: voxels around the structures of a case: most patches are drawn from this part; None: from whole cases.
        cases_of_class: numbers of the cases that have a class, by class, to draw patches on voxels of all classes
            equally often; None: equally often among the classes of each case.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        patch: tuple[int, int, int],
        foreground_share: float,
        seed: int,
        margin: tuple[int, int, int] | None = None,
        cases_of_class: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.cases, self.patch, self.seed = cases, patch, seed
        self.foreground_share, self.margin, self.cases_of_class = foreground_share, margin, cases_of_class
        self._shuffled: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def draw(self, number: int) -> tuple[int, list[int], np.random.RandomState]:
        """Return the number of the case of a patch, its central voxel, and the source of its further random numbers."""
        random = np.random.RandomState(np.random.PCG64([self.seed, number]))  # PCG64 is faster to seed than the default
        index, chosen = self._draw_case(number, random)
        return index, self._draw_centre(self.cases[index], chosen, random), random

    def _draw_case(self, number: int, random: np.random.RandomState) -> tuple[int, int | None]:
        """Return the number of the case of a patch and, if classes are drawn equally often, the class of its centre."""
        if not self.cases_of_class or random.uniform() >= self.foreground_share:
            return self._case_index(number), None
        chosen = list(self.cases_of_class)[random.randint(len(self.cases_of_class))]
        cases = self.cases_of_class[chosen]
        return cases[random.randint(len(cases))], chosen

    def _case_index(self, number: int) -> int:
        epoch, position = divmod(number, len(self.cases))
        if self._shuffled[0] != epoch:
            random = np.random.RandomState([self.seed, epoch % 2**32, 1])
            self._shuffled = (epoch, random.permutation(len(self.cases)))
        return int(self._shuffled[1][position])

    def _draw_centre(self, case: CachedCase, chosen: int | None, random: np.random.RandomState) -> list[int]:
        """Draw the centre of a patch.

        It is on a voxel of a class, the chosen one or all with equal probability. Or the patch is anywhere inside the
        case, or inside the part around its structures. A patch that is larger than this part holds all of it. If voxels
        are ignored, it is on any other voxel instead.
        """
        if not self.cases_of_class and len(case.locations) and random.uniform() < self.foreground_share:
            chosen = random.choice(np.flatnonzero(np.bincount(case.locations[:, 0])))
        if chosen is not None:
            rows = np.flatnonzero(case.locations[:, 0] == chosen)
            return [int(v) for v in case.locations[random.choice(rows), 1:]]
        if len(case.annotated_voxels):
            return [int(v) for v in case.annotated_voxels[random.randint(len(case.annotated_voxels))]]
        low, high = np.zeros(3, dtype=int), np.array(case.image.shape[1:])
        if self.margin is not None and len(case.locations) and random.uniform() >= ANYWHERE:
            voxels = case.locations[:, 1:]
            low = np.maximum(voxels.min(axis=0) - self.margin, low)
            high = np.minimum(voxels.max(axis=0) + 1 + self.margin, high)
        ends = [sorted((int(first), int(stop) - edge)) for first, stop, edge in zip(low, high, self.patch, strict=True)]
        return [
            start + int(random.randint(last - start + 1)) + edge // 2
            for (start, last), edge in zip(ends, self.patch, strict=True)
        ]


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
