"""Augment training patches: rotation, scaling, shift, elastic deformation, flips and intensity changes.

The changes are drawn per patch from the patch's number alone, so they do not depend on batches or processes. They are
applied on the network's device, so a fast device does not wait for slow processes.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attention_unet.config import AugmentationConfig
from attention_unet.preparation.intensity import (
    add_noise,
    apply_bias_field,
    apply_gamma,
    blur,
    lower_resolution,
    scale_brightness,
    scale_contrast,
    send,
    smooth_masked,
)
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import IGNORED, Labels, assign_classes, assign_known_classes

BIAS_POINTS = 4  # control points of a bias field along each axis
CLASSES_AT_ONCE = 8  # classes that are sampled together
CONTROL_SPACING = 8  # voxels of the finest axis between control points of an elastic deformation
OF_SYNTHETIC = 0.5  # least probability of an intensity change of a synthetic image
OF_MASKED = 0.25  # least probability of each of the two changes that smooth, in a masked scan


class PatchTransform(NamedTuple):
    """Map from voxels of a patch to voxels of its case, both counted from the middle."""

    matrix: NDArray[np.float64]  # linear map, (dims, dims)
    shift: NDArray[np.float64]  # translation in voxels of the case, (dims,)
    # Elastic deformation in voxels of the case, at control points from the first voxel of the patch to the last, (dims,
    # *points); linear between them.
    displacement: NDArray[np.float64]
    resampled: bool  # whether the patch is interpolated; if not, it is only flipped

    def source_size(self, patch: Sequence[int]) -> list[int]:
        """Return the size of the box of the case that a patch samples. It differs from the patch by even numbers."""
        largest = np.abs(self.displacement).reshape(len(patch), -1).max(axis=1)
        extent = np.abs(self.matrix) @ patch + 2 * (np.abs(self.shift) + largest)
        return [edge + 2 * max(math.ceil((size - edge) / 2), 0) for size, edge in zip(extent, patch, strict=True)]


class IntensityChange(NamedTuple):
    """Change of the intensities of a patch. For a batch every entry has one more axis in front.

    Entries are arrays because worker processes pass each tensor by an open file.
    """

    blur: NDArray[np.float32]  # standard deviation in voxels, (C,); 0 changes nothing
    bias: NDArray[np.float32]  # logarithm of a bias field at control points, (C, 4, ...); 0 changes nothing
    brightness: NDArray[np.float32]  # factor, (C,); 1 changes nothing
    contrast: NDArray[np.float32]  # factor, (C,); 1 changes nothing
    gamma: NDArray[np.float32]  # exponent, (C,); 1 changes nothing
    low_resolution: NDArray[np.float32]  # share of voxels kept along an axis, (1,); 1 changes nothing
    noise: NDArray[np.float32]  # standard deviation, (C,); 0 changes nothing
    seed: NDArray[np.int64]  # seed of the noise, (1,)
    kept: NDArray[np.float32]  # 0 for channels that are missing, (C,); 1 changes nothing


class Augmentation:
    """Random augmentation of patches."""

    def __init__(self, config: AugmentationConfig, plan: Plan) -> None:
        self.config = config
        self.channels = len(plan.channels)
        self.labels = plan.labels
        axes = [axis for axis in range(3) if axis != plan.slice_axis]
        self.masked = plan.preprocessing.nonzero
        self.patch = tuple(plan.window)
        self.spacing_mm = np.array(plan.preprocessing.spacing_mm)[axes]
        self.may_flip = np.array([axis in plan.mirror_axes for axis in axes])
        stack = plan.preprocessing.stack_axis
        single = self.patch.index(1) if 1 in self.patch else None
        self.thick = axes.index(stack) if stack in axes else single  # axis across slices

    def draw_transform(self, random: np.random.RandomState, frequency: float) -> PatchTransform:
        """Draw flips of one patch and, ``frequency`` times as often as configured, rotation, scaling, shift and elastic
        deformation.
        """
        config, dims = self.config, len(self.patch)
        flip = np.where(self.may_flip & (random.uniform(size=dims) < 0.5), -1.0, 1.0)
        if random.uniform() >= frequency * config.affine:
            return PatchTransform(np.diag(flip), np.zeros(dims), np.zeros((dims, *[2] * dims)), False)
        limit = math.radians(config.rotation_degrees)
        zoom = random.uniform(config.scale[0], config.scale[1], size=dims)
        free = np.arange(dims) != self.thick
        matrix = np.diag(self.spacing_mm * flip / np.where(free, zoom, 1.0))
        for a, b in itertools.combinations(range(dims), 2):
            if self.thick in (a, b):  # thick slices are rotated in-plane only
                continue
            angle = random.uniform(-limit, limit)
            cosine, sine = math.cos(angle), math.sin(angle)
            matrix[[a, b]] = np.array([[cosine, -sine], [sine, cosine]]) @ matrix[[a, b]]
        finest = self.spacing_mm.min() / self.spacing_mm  # edge of the finest voxel, in voxels of each axis
        shift = random.uniform(-config.shift * finest, config.shift * finest) * free
        points = [1 + max(round(n / f / CONTROL_SPACING), 1) for n, f in zip(self.patch, finest, strict=True)]
        displacement = random.normal(size=(dims, *points)) * (config.bend * finest * free).reshape(-1, *[1] * dims)
        return PatchTransform(np.diag(1 / self.spacing_mm) @ matrix, shift, displacement, True)

    def draw_intensity(
        self, random: np.random.RandomState, frequency: float, synthetic: bool = False
    ) -> IntensityChange:
        """Draw the intensity change of one patch, ``frequency`` times as often as configured.

        Changes that are configured have at least the probability 0.5 in synthetic images; the two that smooth have at
        least 0.25 in masked scans, because the scans to predict may have softer edges.
        """
        config, per_channel = self.config, (self.channels,)
        least = OF_SYNTHETIC if synthetic else 0.0
        least_smoothing = max(least, OF_MASKED if self.masked else 0.0)

        def draw(
            probability: float, low: float, high: float, neutral: float, size: tuple[int, ...], least: float = least
        ) -> NDArray[np.float32]:
            happens = random.uniform() < max(frequency * probability, least) and probability > 0
            values = random.uniform(low, high, size) if happens else np.full(size, neutral)
            return np.asarray(values, dtype=np.float32)

        return IntensityChange(
            blur=draw(config.blur, 0.5, 1.0, 0.0, per_channel, least_smoothing),
            bias=draw(config.bias_field, -0.4, 0.4, 0.0, (*per_channel, *[BIAS_POINTS] * len(self.patch))),
            brightness=draw(config.brightness, 0.75, 1.25, 1.0, per_channel),
            contrast=draw(config.contrast, 0.75, 1.25, 1.0, per_channel),
            gamma=draw(config.gamma, 0.7, 1.5, 1.0, per_channel),
            low_resolution=draw(config.low_resolution, 0.5, 1.0, 1.0, (1,), least_smoothing),
            noise=draw(config.noise, 0.0, 0.3, 0.0, per_channel),
            seed=np.array([random.randint(2**31)]),
            kept=self._draw_kept(random),
        )

    def _draw_kept(self, random: np.random.RandomState) -> NDArray[np.float32]:
        """Draw which channels are there. If all would be missing, one of them stays."""
        kept = random.uniform(size=self.channels) >= self.config.drop_channel
        kept[random.randint(self.channels)] |= not kept.any()
        return kept.astype(np.float32)

    def transform_patch(self, image: Tensor, target: Tensor, transform: PatchTransform) -> tuple[Tensor, Tensor]:
        """Return image (C, *patch) and target (T, *patch), uint8, from the box of the case that a transform samples.

        Classes are interpolated linearly like the image, and each voxel gets the class with the largest share, as in
        preprocessing.
        """
        if not transform.resampled:
            flipped = [1 + int(axis) for axis in np.flatnonzero(np.diag(transform.matrix) < 0)]
            return image.flip(flipped), target.flip(flipped)
        grid = self._sampling_grid(transform, image.shape[1:], image.device).unsqueeze(1)

        def sample(features: Tensor, mode: str = "bilinear") -> Tensor:
            # A batch of planes, because torch distributes batches over threads, but nothing smaller.
            planes = F.grid_sample(features.expand(len(grid), *features.shape), grid, mode, align_corners=False)
            return planes.squeeze(2).movedim(0, 1)

        masks = class_masks(target, self.labels, image.dtype)
        sampled = sample(torch.cat([image, next(masks)]))
        shares = itertools.chain(sampled[len(image) :], itertools.chain.from_iterable(map(sample, masks)))
        if self.labels.ignore is None:
            return sampled[: len(image)], assign_classes(shares, self.labels)
        known = (target[:1] != IGNORED).to(image.dtype)
        nearest = sample(known, "nearest")[0] > 0  # decided by shares, annotated slices would grow
        return sampled[: len(image)], assign_known_classes(shares, self.labels, sample(known)[0], nearest)

    def change_intensity(self, image: Tensor, change: IntensityChange) -> Tensor:
        """Apply intensity changes to a batch of images (B, C, *S)."""

        def apply(
            function: Callable[..., Tensor], neutral: float, strength: NDArray[Any], *more: NDArray[Any]
        ) -> Tensor:
            rows = np.flatnonzero((strength != neutral).reshape(len(strength), -1).any(axis=1))
            if not len(rows):
                return image
            index = send(torch.from_numpy(rows), image.device)
            changed = function(image[index], *(torch.from_numpy(s[rows]) for s in (strength, *more)))
            return image.index_copy(0, index, changed)

        for smooth, neutral, strength in ((blur, 0, change.blur), (lower_resolution, 1, change.low_resolution)):
            function = partial(smooth_masked, smooth) if self.masked else smooth
            image = apply(partial(function, thick=self.thick), neutral, strength)
        image = apply(apply_bias_field, 0, change.bias)
        image = apply(scale_brightness, 1, change.brightness)
        image = apply(scale_contrast, 1, change.contrast)
        image = apply(apply_gamma, 1, change.gamma)
        image = apply(add_noise, 0, change.noise, change.seed)
        return apply(scale_brightness, 1, change.kept)  # 0 is the mean of a channel

    def _sampling_grid(self, transform: PatchTransform, source: Sequence[int], device: torch.device) -> Tensor:
        """Return the source position of each voxel of the patch for ``grid_sample``, (*patch, dims).

        Voxel edges of the source are at -1 and 1; axes run from the last to the first.
        """
        column = (-1, *[1] * len(self.patch))
        points = control_points(transform.displacement.shape[1:], self.patch)
        voxels = np.tensordot(transform.matrix, points, 1) + transform.shift.reshape(column) + transform.displacement
        grid = send(torch.from_numpy(2 * voxels / np.array(source).reshape(column)).flip(0).float(), device)
        for edge in self.patch:  # interpolates one axis from points to voxels, and moves it to the end
            grid = torch.tensordot(grid, linear_weights(grid.shape[1], edge, device), dims=([1], [0]))
        return grid.movedim(0, -1)


@cache
def control_points(points: tuple[int, ...], patch: tuple[int, ...]) -> NDArray[np.float64]:
    """Return evenly spaced positions from the first to the last voxel of a patch, from its middle, (dims, *points)."""
    ends = [(edge - 1) / 2 for edge in patch]
    coordinates = [np.linspace(-end, end, n) for end, n in zip(ends, points, strict=True)]
    return np.stack(np.meshgrid(*coordinates, indexing="ij"))


@cache
def linear_weights(points: int, voxels: int, device: torch.device) -> Tensor:
    """Return the weight of each control point at each voxel, (points, voxels), for linear interpolation.

    Products with these along one axis after another are faster than ``F.interpolate``, which does all axes at once.
    """
    position = torch.linspace(0, points - 1, voxels, device=device)
    return (1 - (position - torch.arange(points, device=device)[:, None]).abs()).clamp(min=0)


def class_masks(target: Tensor, labels: Labels, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield masks of a target (T, *S), eight classes at a time: (8, *S), 1 inside; ignored voxels are in none."""
    shape = -1, *[1] * (target.ndim - 1)
    numbers = torch.arange(1, len(labels.names) + 1, dtype=target.dtype, device=target.device).reshape(shape)
    for some in torch.split(target if labels.overlapping else numbers, CLASSES_AT_ONCE):
        masks = torch.empty((len(some), *target.shape[1:]), dtype=dtype, device=target.device)
        one, other = (some, torch.ones_like(some[0])) if labels.overlapping else (target, some)
        yield torch.eq(one, other, out=masks)  # ten times as fast as to compare and then convert
