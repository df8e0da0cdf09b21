"""Cohorts and a machine to plan for, and patches of small cases."""

import numpy as np
import torch

from attention_unet.config import AugmentationConfig
from attention_unet.dataset.cases import Dataset
from attention_unet.machine.devices import Machine
from attention_unet.preparation.cache import CachedCase, class_locations
from attention_unet.preparation.fingerprint import Fingerprint, Shape
from attention_unet.preparation.loading import load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.preparation.plan import AXES, Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels

LAPTOP = Machine("cpu", 8 * 2**30, 2, True, 1)
LABELS = Labels({"a": (1,), "b": (2,)}, (1, 2))
ALL = AugmentationConfig(
    affine=0.5, noise=0.5, blur=0.5, bias_field=0.5, brightness=0.5, contrast=0.5, gamma=0.5, low_resolution=0.5,
    flip_axes=["left-right", "down-up"],
)  # fmt: skip


def cohort_of(grid, spacing, kept=1.0):
    return Fingerprint(np.array([grid] * 5), np.array([spacing] * 5, dtype=float), np.full(5, kept))


def dataset(channels=1):
    return Dataset(None, (), tuple(f"c{i}" for i in range(channels)), Labels({"a": (1,), "b": (2,)}, (1, 2)))


def cached(number, grid=(20, 24, 18), empty=False):
    random = np.random.RandomState(number)
    target = np.zeros((1, *grid), dtype=np.uint8)
    if not empty:
        target[0, 2:4, 3:5, 4:6], target[0, 15, 20, 16] = 1, 2
    image = random.normal(size=(1, *grid)).astype(np.float32) + target
    return CachedCase(f"case{number}", image, target, class_locations(target, LABELS))


def patch_dataset(cases, patch=(8, 8, 8), slice_axis=None, share=0.33, augmentation=ALL, seed=0, margin=None):
    mirror_axes = tuple(AXES.index(name) for name in augmentation.flip_axes)
    plan = Plan(
        ("t1",), LABELS, Preprocessing((1.0, 1.0, 1.0), False), (9.0,) * 3, patch, slice_axis, mirror_axes, 2, {}
    )
    return PatchDataset(PatchSampler(cases, patch, share, seed, margin), plan, augmentation)


def batches_of(patches, first_step=0, batch=1, workers=0):
    return load_patches(patches, patch_numbers(first_step, batch, 0, 1), workers, torch.device("cpu"))


def load_patch(patches, number):
    """Return one patch as the network receives it."""
    batch = next(batches_of(patches, number))
    return batch.image[0], batch.target[0]


def ball(radius_mm, spacing):
    """Return a ball in voxels of a size."""
    axes = [np.arange(-radius_mm - 4 * s, radius_mm + 4.5 * s, s) for s in spacing]
    distance = np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij")), axis=0)
    return Shape("ball", distance < radius_mm, tuple(map(float, spacing)))
