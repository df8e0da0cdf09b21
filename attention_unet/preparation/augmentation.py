"""Random changes of training patches: drawn for each patch by itself, made to a batch where the network computes.

What is drawn follows from the patch's number alone, so that neither batches nor processes change it; and as it is made
on the network's device, a fast device does not wait for slow processes.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attention_unet.config import AugmentationConfig
from attention_unet.preparation.intensity import blurred, brightened, coarsened, contrasted, curved, noisy, shaded
from attention_unet.preparation.plan import ANISOTROPIC, Plan
from attention_unet.scans.labels import Labels, likeliest

NODES = 4  # of a bias field along each axis
CLASSES_AT_ONCE = 8  # that are sampled together
BENDS_APART = 8  # voxels of the finest axis between points that are bent by themselves


class PatchTransform(NamedTuple):
    """How a patch lies in its case.

    Attributes:
        sampling: from voxels of the patch to voxels of the case, both counted from the middle, (dims, dims).
        shift: what is added to these voxels of the case, (dims,).
        bend: what is added as well, at points evenly spread from the first voxel of the patch to the last,
            (dims, *points), and linearly between them.
        moved: whether that is more than mirroring.
    """

    sampling: NDArray[np.float64]
    shift: NDArray[np.float64]
    bend: NDArray[np.float64]
    moved: bool

    def reach(self, patch: Sequence[int]) -> list[int]:
        """Edges of the box, about the same middle, that the patch looks at; as even or odd as those of the patch."""
        bent = np.abs(self.bend).reshape(len(patch), -1).max(axis=1)
        extent = np.abs(self.sampling) @ patch + 2 * (np.abs(self.shift) + bent)
        return [edge + 2 * max(math.ceil((far - edge) / 2), 0) for far, edge in zip(extent, patch, strict=True)]


class Change(NamedTuple):
    """What happens to the values of a patch's image; for a batch every entry has one more axis in front.

    Arrays and not tensors, because worker processes hand over each tensor by an open file.

    Attributes:
        blur: standard deviation in voxels, (C,); 0 for none.
        bias: logarithm of a field, (C, 4, ...); 0 for none.
        brightness: factor, (C,); 1 for none.
        contrast: factor, (C,); 1 for none.
        gamma: exponent, (C,); 1 for none.
        low_resolution: share of voxels kept along an axis, (1,); 1 for none.
        noise: standard deviation, (C,); 0 for none.
        seed: of the noise, (1,).
    """

    blur: NDArray[np.float32]
    bias: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    gamma: NDArray[np.float32]
    low_resolution: NDArray[np.float32]
    noise: NDArray[np.float32]
    seed: NDArray[np.int64]


class Augmentation:
    """Draws changes and makes them.

    Args:
        config: probabilities and ranges.
        plan: of patches and their voxel size: turning happens in millimetres.
    """

    def __init__(self, config: AugmentationConfig, plan: Plan) -> None:
        self.config = config
        self.channels = len(plan.channels)
        self.labels = plan.labels
        axes = [axis for axis in range(3) if axis != plan.slice_axis]
        self.patch = tuple(plan.patch[axis] for axis in axes)
        self.spacing_mm = np.array(plan.preprocessing.spacing_mm)[axes]
        self.may_mirror = np.array([axis in plan.mirror_axes for axis in axes])

    def draw_transform(self, random: np.random.RandomState) -> PatchTransform:
        """Draw how one patch is turned, zoomed, shifted, bent and mirrored."""
        config, dims = self.config, len(self.patch)
        mirror = np.where(self.may_mirror & (random.uniform(size=dims) < 0.5), -1.0, 1.0)
        if random.uniform() >= config.affine:
            return PatchTransform(np.diag(mirror), np.zeros(dims), np.zeros((dims, *[2] * dims)), False)
        turn = math.radians(config.rotation_degrees)
        matrix = np.diag(self.spacing_mm * mirror / random.uniform(config.scale[0], config.scale[1], size=dims))
        for a, b in self._planes():
            angle = random.uniform(-turn, turn)
            cosine, sine = math.cos(angle), math.sin(angle)
            matrix[[a, b]] = np.array([[cosine, -sine], [sine, cosine]]) @ matrix[[a, b]]
        finest = self.spacing_mm.min() / self.spacing_mm  # voxels of the finest axis in those of each
        shift = random.uniform(-config.shift * finest, config.shift * finest)
        points = [1 + max(round(n / f / BENDS_APART), 1) for n, f in zip(self.patch, finest, strict=True)]
        bend = random.normal(size=(dims, *points)) * (config.bend * finest).reshape(-1, *[1] * dims)
        return PatchTransform(np.diag(1 / self.spacing_mm) @ matrix, shift, bend, True)

    def draw_change(self, random: np.random.RandomState) -> Change:
        """Draw what happens to the values of one patch."""
        config, each = self.config, (self.channels,)

        def drawn(
            probability: float, low: float, high: float, none: float, size: tuple[int, ...]
        ) -> NDArray[np.float32]:
            happens = random.uniform() < probability
            values = random.uniform(low, high, size) if happens else np.full(size, none)
            return np.asarray(values, dtype=np.float32)

        return Change(
            blur=drawn(config.blur, 0.5, 1.0, 0.0, each),
            bias=drawn(config.bias_field, -0.4, 0.4, 0.0, (*each, *[NODES] * len(self.patch))),
            brightness=drawn(config.brightness, 0.75, 1.25, 1.0, each),
            contrast=drawn(config.contrast, 0.75, 1.25, 1.0, each),
            gamma=drawn(config.gamma, 0.7, 1.5, 1.0, each),
            low_resolution=drawn(config.low_resolution, 0.5, 1.0, 1.0, (1,)),
            noise=drawn(config.noise, 0.0, 0.3, 0.0, each),
            seed=np.array([random.randint(2**31)]),
        )

    def place(self, image: Tensor, target: Tensor, transform: PatchTransform) -> tuple[Tensor, Tensor]:
        """Turn, zoom, shift, bend and mirror one patch.

        Classes are sampled linearly like the image, and a voxel goes to the likeliest, as in the preparation of cases.

        Args:
            image: (C, *reach) float32, the box that the transform looks at.
            target: (T, *reach) of integers.
            transform: of the patch in it.

        Returns:
            Image (C, *patch) and target (T, *patch), uint8.
        """
        if not transform.moved:
            mirrored = [1 + int(axis) for axis in np.flatnonzero(np.diag(transform.sampling) < 0)]
            return image.flip(mirrored), target.flip(mirrored)
        grid = self._looked_at(transform, image.shape[1:], image.device).unsqueeze(1)

        def sampled(features: Tensor) -> Tensor:
            # Plane by plane, as a batch of them, because torch shares out batches to threads, and nothing smaller.
            planes = F.grid_sample(features.expand(len(grid), *features.shape), grid, "bilinear", align_corners=False)
            return planes.squeeze(2).movedim(0, 1)

        some, *others = torch.split(class_shares(target, self.labels), CLASSES_AT_ONCE)
        both = sampled(torch.cat([image, some.to(image.dtype)]))
        rest = itertools.chain.from_iterable(sampled(more.to(image.dtype)) for more in others)
        return both[: len(image)], likeliest(itertools.chain(both[len(image) :], rest), self.labels)

    def change(self, image: Tensor, change: Change) -> Tensor:
        """Change the values of a batch of images (B, C, *S)."""

        def made(make: Callable[..., Tensor], none: float, strength: NDArray[Any], *more: NDArray[Any]) -> Tensor:
            rows = np.flatnonzero((strength != none).reshape(len(strength), -1).any(axis=1))
            if not len(rows):
                return image
            there = torch.from_numpy(rows).to(image.device)
            changed = make(image[there], *(torch.from_numpy(s[rows]).to(image.device) for s in (strength, *more)))
            return image.index_copy(0, there, changed)

        image = made(blurred, 0, change.blur)
        image = made(shaded, 0, change.bias)
        image = made(brightened, 1, change.brightness)
        image = made(contrasted, 1, change.contrast)
        image = made(curved, 1, change.gamma)
        image = made(coarsened, 1, change.low_resolution)
        return made(noisy, 0, change.noise, change.seed)

    def _looked_at(self, transform: PatchTransform, source: Sequence[int], device: torch.device) -> Tensor:
        """Where in its source each voxel of the patch looks, (*patch, dims), counted as ``grid_sample`` does: edges
        of voxels from -1 to 1, axes from the last to the first."""
        each = (-1, *[1] * len(self.patch))
        points = evenly_spread(transform.bend.shape[1:], self.patch)
        voxels = np.tensordot(transform.sampling, points, 1) + transform.shift.reshape(each) + transform.bend
        looked_at = torch.from_numpy(2 * voxels / np.array(source).reshape(each)).flip(0).float().to(device)
        for edge in self.patch:  # from points to voxels along one axis after another, each of which goes to the end
            looked_at = torch.tensordot(looked_at, between(looked_at.shape[1], edge, device), dims=([1], [0]))
        return looked_at.movedim(0, -1)

    def _planes(self) -> list[tuple[int, int]]:
        """Pairs of axes that are turned into each other: thick slices are turned within themselves only."""
        if len(self.patch) == 2:
            return [(0, 1)]
        thick = int(self.spacing_mm.argmax())
        a, b = [axis for axis in range(3) if axis != thick]
        if self.spacing_mm[thick] > ANISOTROPIC * max(self.spacing_mm[a], self.spacing_mm[b]):
            return [(a, b)]
        return [(0, 1), (0, 2), (1, 2)]


@cache
def evenly_spread(points: tuple[int, ...], patch: tuple[int, ...]) -> NDArray[np.float64]:
    """Voxels, from the middle of a patch, of points from its first voxel to its last, (dims, *points)."""
    ends = [(edge - 1) / 2 for edge in patch]
    along = [np.linspace(-end, end, n) for end, n in zip(ends, points, strict=True)]
    return np.stack(np.meshgrid(*along, indexing="ij"))


@cache
def between(points: int, voxels: int, device: torch.device) -> Tensor:
    """What each of some points counts at each voxel, (points, voxels): linear from the first voxel to the last.

    Products with these, axis after axis, take less time than ``F.interpolate``, which does all axes at once.
    """
    at = torch.linspace(0, points - 1, voxels, device=device)
    return (1 - (at - torch.arange(points, device=device)[:, None]).abs()).clamp(min=0)


def class_shares(target: Tensor, labels: Labels) -> Tensor:
    """Which voxels (classes, *S) belong to each class, of a target (T, *S)."""
    if labels.overlapping:
        return target > 0
    numbers = torch.arange(1, len(labels.names) + 1, device=target.device)
    return target == numbers.reshape(-1, *[1] * (target.ndim - 1))
