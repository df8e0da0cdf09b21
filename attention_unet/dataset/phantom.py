"""Make a cohort of MR-like phantoms: a dataset with known truth and without a download.

Anatomy is defined in millimetres of the patient. Each case is then scanned on its own grid: random voxel size, thick
slices, oblique, stored in any of the 48 axis orders, with a coil's bias field and Rician noise.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from attention_unet.errors import ConfigError
from attention_unet.files.atomic import replacing
from attention_unet.files.json_file import write_json

Array = NDArray[np.float64]

NAME = "Phantom"
CLASSES = {"Ventricle": 1, "Nucleus": 2, "Lesion": 3}
FIELD_OF_VIEW_MM = np.array([88.0, 96.0, 80.0])
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def make_cohort(root: Path, training: int, test: int, seed: int, done: Callable[[], None]) -> Path:
    """Write a cohort in Decathlon layout into ``root/Phantom``, and return this folder. Equal seeds give equal cohorts.

    Raise ConfigError if the folder exists, or a number is out of range.
    """
    folder = root / NAME
    if training < 1 or test < 0:
        raise ConfigError(f"--training is {training}, --test is {test}: expected at least 1 and 0 cases")
    if folder.exists():
        raise ConfigError(f"{folder}: exists already: remove it, or name another folder with --root")
    files = [f"phantom_{number:03d}.nii.gz" for number in range(training)]
    description = {
        "name": NAME,
        "description": "Synthetic MR-like volumes with three structures",
        "licence": "CC0",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", **{str(value): name for name, value in CLASSES.items()}},
        "numTraining": training,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in files],
    }
    write_json(folder / "dataset.json", description)  # first, so that a cohort that was cut short is refused
    for number in range(training + test):
        random = np.random.RandomState([seed, number])
        part = "Tr" if number < training else "Ts"
        image, label = make_case(random)
        for kind, volume in (("images", image), ("labels", label)):
            with replacing(folder / f"{kind}{part}" / f"phantom_{number:03d}.nii.gz") as partial:
                nib.save(volume, partial)
        done()
    return folder


def make_case(random: np.random.RandomState) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """Return the image, float32, and the label map, uint8, of one random patient."""
    affine, grid = _draw_grid(random)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1)
    position_mm = voxels @ affine[:3, :3].T + affine[:3, 3]
    image, label = _scan(position_mm, random)
    volumes = [nib.Nifti1Image(array, affine) for array in (image.astype(np.float32), label.astype(np.uint8))]
    for volume in volumes:
        volume.set_sform(affine, code=1)
        volume.set_qform(affine, code=1)
    return volumes[0], volumes[1]


def _draw_grid(random: np.random.RandomState) -> tuple[Array, tuple[int, ...]]:
    """Draw affine and shape of an oblique grid of thick slices around the origin, stored in a random axis order."""
    in_plane = random.uniform(1.3, 1.6)
    spacing = np.array([in_plane, in_plane, random.uniform(2.2, 3.0)])
    grid = np.ceil(FIELD_OF_VIEW_MM / spacing).astype(int)
    rotation = Rotation.from_euler("xyz", random.uniform(-12, 12, size=3), degrees=True).as_matrix()
    axes, signs = ORIENTATIONS[random.randint(len(ORIENTATIONS))]
    directions = (rotation * spacing)[:, list(axes)] * np.array(signs)
    stored = grid[list(axes)]
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = -directions @ ((stored - 1) / 2) + random.uniform(-4, 4, size=3)
    return affine, tuple(int(n) for n in stored)


def _scan(position_mm: Array, random: np.random.RandomState) -> tuple[Array, NDArray[np.int64]]:
    """Return signal and label at positions (*S, 3) in mm on RAS+ axes of the patient."""
    deformed = position_mm + 2.0 * np.sin(position_mm[..., [1, 2, 0]] / 14 + random.uniform(0, 6, size=3))
    brain = random.uniform(0.95, 1.05) * np.array([34, 40, 32])
    centre = random.uniform(-3, 3, size=3) + [0, -4, 4]
    size = random.uniform(0.9, 1.15)
    ventricle = _ellipsoid_pair(deformed, centre, 8, size * np.array([5.5, 16, 7]))
    nucleus = _ellipsoid_pair(deformed, centre + [0, 10, -14], 15, size * np.array([6, 9, 7]))
    # The lesion is small and faint, behind the ventricles on a random side.
    side = random.choice([-1, 1])
    spot = centre + [side * random.uniform(12, 18), random.uniform(-22, -16), random.uniform(-10, 6)]
    lesion = _ellipsoid(deformed, spot, random.uniform(4.5, 6.0, size=3))

    contrast = random.uniform(0.9, 1.1)
    brain_mask = _soft_mask(_ellipsoid(deformed, [0, 0, 0], brain))
    skull, head = (_soft_mask(_ellipsoid(deformed, [0, 0, 0], factor * brain)) for factor in (1.08, 1.16))
    scalp = head - skull
    folds = np.sin(deformed[..., 0] / 4) * np.sin(deformed[..., 1] / 5) * np.sin(deformed[..., 2] / 4)
    signal = 0.05 + 0.55 * scalp + (0.7 + 0.07 * folds) * brain_mask
    label = np.zeros(signal.shape, dtype=np.int64)
    for value, structure, change in zip(CLASSES.values(), (ventricle, nucleus, lesion), (-0.5, 0.2, 0.11), strict=True):
        signal += change * contrast * _soft_mask(structure)
        label[(structure < 0) & (label == 0)] = value
    field = np.exp(0.25 * (position_mm / FIELD_OF_VIEW_MM) @ random.uniform(-1, 1, size=3))
    noise = 0.04 * random.normal(size=(2, *signal.shape))
    magnitude = np.hypot(signal * field + noise[0], noise[1])
    return magnitude * random.uniform(300, 900), label


def _ellipsoid_pair(position_mm: Array, centre: Array, apart_mm: float, radii_mm: Array) -> Array:
    """Return the signed distance in mm to two ellipsoids, left and right of a centre; negative inside."""
    left, right = (_ellipsoid(position_mm, centre + [side * apart_mm, 0, 0], radii_mm) for side in (-1, 1))
    return np.minimum(left, right)


def _ellipsoid(position_mm: Array, centre: list[float] | Array, radii_mm: Array) -> Array:
    """Return the approximate signed distance in mm to an ellipsoid; negative inside."""
    level: Array = np.linalg.norm((position_mm - np.asarray(centre)) / radii_mm, axis=-1)
    return (level - 1) * float(np.min(radii_mm))


def _soft_mask(distance_mm: Array) -> Array:
    """Return 1 inside and 0 outside, with a soft edge for partial volumes."""
    return 1 / (1 + np.exp(np.clip(distance_mm / 0.6, -30, 30)))
