"""Draw the case and the centre of each training patch."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from attention_unet.preparation.cache import CachedCase

ANYWHERE = 0.6  # share of the patches beside foreground_share that come from whole cases despite a locator


class PatchSampler:
    """The cases and centres of endless patches, by number.

    Args:
        cases: preprocessed cases; every case is used once before one is used again, except with ``cases_of_class``.
        patch: voxels of a patch.
        foreground_share: share of patches centred on a voxel of a class.
        seed: seed of all random draws.
        margin: voxels around the structures of a case: many patches are drawn from this part; None: from whole cases.
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
