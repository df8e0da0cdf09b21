"""The cohorts of ``cohorts.py``: real datasets, datasets made from them, and phantoms, in the layout of nnU-Net.

Cohorts marked ``measured`` are only measured: no rule is found with them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import nibabel as nib
import numpy as np
from brain_phantoms import PARCELS, lesions, parcels, tumour
from hard_phantoms import Phantom, atrium, short_axis
from nibabel.affines import apply_affine
from nibabel.processing import resample_to_output
from scipy import ndimage
from scipy.spatial.transform import Rotation

from attention_unet.config import DataConfig
from attention_unet.dataset.find_dataset import find_dataset

Case = tuple[nib.Nifti1Image, nib.Nifti1Image]  # image of one channel, label map


@dataclass(frozen=True)
class Cohort:
    """A dataset to compare on.

    Attributes:
        what: what it stands for.
        training: cases to train on.
        held_out: cases to score.
        source: real dataset it is made from, or the function that draws a phantom.
        classes: names of the classes, in the order of their values; empty: those of the real dataset.
        change: function that changes a case of a real dataset; None for none.
        channels: number of channels.
        nested: whether each class includes the values of the later ones.
        oblique: whether slices are tilted and turned in their plane, each scan by other angles.
        measured: whether it is only measured.
    """

    what: str
    training: int
    held_out: int
    source: str | Callable[[np.random.RandomState], Phantom]
    classes: tuple[str, ...] = ()
    change: Callable[[Case, np.random.RandomState], Case] | None = None
    channels: int = 1
    nested: bool = False
    oblique: bool = False
    measured: bool = False


def only_amygdala(case: Case, random: np.random.RandomState) -> Case:
    """Keep the smallest structure of a head."""
    image, label = case
    return image, nib.Nifti1Image((np.asarray(label.dataobj) == 2).astype(np.uint8), label.affine)


def sides_apart(case: Case, random: np.random.RandomState) -> Case:
    """Separate left and right of seven structures, at the middle of each; the brain stem is one."""
    image, label = case
    values = np.asarray(label.dataobj)
    apart = np.zeros(values.shape, dtype=np.uint8)
    for structure in range(1, 8):
        where = np.argwhere(values == structure)
        right = apply_affine(label.affine, where)[:, 0]
        is_right = right > (right.min() + right.max()) / 2
        apart[tuple(where.T)] = 2 * structure - 1 + is_right
    apart[values == 8] = 15
    return image, nib.Nifti1Image(apart, label.affine)


def resliced(case: Case, random: np.random.RandomState) -> Case:
    """Bring a head to other voxels, 0.5 to 3 mm, and another orientation."""
    if random.uniform() < 0.5:
        voxel_mm = np.full(3, random.uniform(0.8, 1.6))
    else:
        voxel_mm = random.permutation([random.uniform(0.5, 1.0)] * 2 + [random.uniform(2.0, 3.0)])
    turn = np.column_stack([random.permutation(3), random.choice([-1, 1], size=3)])
    image, label = (
        resample_to_output(volume, voxel_mm, order=order).as_reoriented(turn)
        for volume, order in zip(case, (1, 0), strict=True)
    )
    image = nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    return image, nib.Nifti1Image(np.asarray(label.dataobj, dtype=np.uint8), label.affine)


HEADS = "OASIS_Subcortical"
SIDED = ("Hippocampus", "Amygdala", "Caudate", "Putamen", "Pallidum", "Thalamus", "Lateral Ventricle")
COHORTS = {
    "crops": Cohort("crops, 1 mm, 208 cases", 156, 52, "Task04_Hippocampus"),
    "heads": Cohort("whole heads, 1 mm, 8 structures", 12, 3, HEADS),
    "short_axis": Cohort("thick slices, look-alikes far away", 36, 12, short_axis, ("left", "wall", "right")),
    "atrium": Cohort("fine voxels, neighbours of the same signal", 30, 10, atrium, ("atrium",)),
    "lesions": Cohort("tiny lesions, in any number or none", 40, 16, lesions, ("lesion",)),
    "parcels": Cohort("17 classes that touch and fill a head", 16, 6, parcels, PARCELS),
    "tumours": Cohort(
        "nested classes in four channels",
        40,
        16,
        tumour,
        ("whole", "core", "enhancing"),
        channels=4,
        nested=True,
        measured=True,
    ),
    "mixed": Cohort("heads of mixed voxel size and orientation", 12, 3, HEADS, change=resliced, measured=True),
    "amygdala": Cohort("one small structure in whole heads", 12, 3, HEADS, ("Amygdala",), only_amygdala, measured=True),
    "sides": Cohort(
        "15 structures, left and right apart",
        12,
        3,
        HEADS,
        (*(f"{side} {name}" for name in SIDED for side in ("Left", "Right")), "Brain Stem"),
        sides_apart,
        measured=True,
    ),
    "five_heads": Cohort("five heads to train on", 5, 10, HEADS, measured=True),
    "oblique": Cohort("thick slices, tilted and turned", 36, 12, short_axis, ("left", "wall", "right"), oblique=True),
}


def make(name: str, data: Path, folder: Path) -> Path:
    """Write a cohort into ``folder``, and its split beside it.

    Args:
        name: name of the cohort.
        data: folder of the real datasets.
        folder: folder of the datasets.

    Returns:
        The folder of the dataset; ``splits.json`` in it names the cases to train on and those held out.
    """
    cohort = COHORTS[name]
    target = folder / f"Dataset{list(COHORTS).index(name) + 1:03d}_{name}"
    if (target / "splits.json").exists():
        return target
    for part in ("imagesTr", "labelsTr"):
        (target / part).mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    classes = cohort.classes
    if isinstance(cohort.source, str):
        dataset = find_dataset(DataConfig(root=str(data / cohort.source)))
        classes = classes or dataset.labels.names
        for case in dataset.cases[: cohort.training + cohort.held_out]:
            pair = nib.load(case.images[0]), nib.load(case.label)
            random = np.random.RandomState([11, len(ids)])
            image, label = cohort.change(pair, random) if cohort.change else pair
            _save(target, case.id, [image], label)
            ids.append(case.id)
    else:
        ids = [f"{name}_{number:03d}" for number in range(cohort.training + cohort.held_out)]
        with Pool() as pool:
            pool.starmap(_draw, [(name, number, target, case) for number, case in enumerate(ids)], chunksize=1)
    values = range(1, len(classes) + 1)
    labels = {each: list(values[i:]) if cohort.nested else i + 1 for i, each in enumerate(classes)}
    description = {
        "channel_names": {str(channel): f"MRI{channel}" for channel in range(cohort.channels)},
        "labels": {"background": 0, **labels},
        "numTraining": len(ids),
        "file_ending": ".nii.gz",
    }
    if cohort.nested:
        description["regions_class_order"] = list(values)
    (target / "dataset.json").write_text(json.dumps(description))
    order = [ids[i] for i in np.random.RandomState(1).permutation(len(ids))]
    split = {"train": sorted(order[cohort.held_out :]), "val": sorted(order[: cohort.held_out])}
    (target / "splits.json").write_text(json.dumps([split]))
    return target


def _draw(name: str, number: int, target: Path, case: str) -> None:
    draw = COHORTS[name].source
    if not isinstance(draw, str):
        random = np.random.RandomState([11, number])
        image, label, spacing_mm = draw(random)
        affine = np.diag([*spacing_mm, 1.0])
        if COHORTS[name].oblique:  # as hearts lie: slices look left, forward and down, and are turned in their plane
            angles = random.uniform(-60, -30), random.uniform(40, 70), random.uniform(0, 80)
            turned = 40 - angles[2]  # the anatomy in the slices, so that it stays where it is in the patient
            image, label = (
                ndimage.rotate(values, turned, reshape=False, order=order, mode="nearest")
                for values, order in ((image, 1), (label, 0))
            )
            affine[:3, :3] = Rotation.from_euler("ZXZ", angles, degrees=True).as_matrix() @ affine[:3, :3]
        channels = [nib.Nifti1Image(image[..., i], affine) for i in range(image.shape[-1])]
        _save(target, case, channels, nib.Nifti1Image(label, affine))


def _save(target: Path, case: str, channels: Sequence[nib.Nifti1Image], label: nib.Nifti1Image) -> None:
    for number, channel in enumerate(channels):
        nib.save(channel, target / "imagesTr" / f"{case}_{number:04d}.nii.gz")
    nib.save(label, target / "labelsTr" / f"{case}.nii.gz")
