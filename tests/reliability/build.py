"""Build a small valid dataset."""

import json
from pathlib import Path

import numpy as np

from tests.conftest import oblique_affine, save_nifti

GRID = (18, 20, 14)
AFFINE = oblique_affine((2.0, 2.2, 3.0), degrees=8.0, axes=(1, 0, 2), signs=(1, -1, 1))
CASES = "abcd"
SMALL = [
    "--data.folds=2", "--data.patch=[8,8,8]", "--data.spacing_mm=[2.5,2.5,3]", "--network.base_channels=4",
    "--network.max_levels=2", "--training.steps=2", "--training.validations=1", "--training.accelerator=cpu",
]  # fmt: skip


def image_of(case: str) -> np.ndarray:
    random = np.random.RandomState(ord(case))
    image = random.normal(100, 10, size=GRID).astype(np.float32)
    image[label_of(case) == 1] += 60
    return image


def label_of(case: str) -> np.ndarray:
    label = np.zeros(GRID, dtype=np.uint8)
    first = 3 + ord(case) % 4
    label[first : first + 8, 4:14, 4:10] = 1
    return label


def make_dataset(root: Path) -> Path:
    """Write four cases in nnU-Net's layout."""
    for case in CASES:
        save_nifti(root / "imagesTr" / f"{case}_0000.nii.gz", image_of(case), AFFINE)
        save_nifti(root / "labelsTr" / f"{case}.nii.gz", label_of(case), AFFINE)
    write_description(root)
    return root


def write_description(root: Path, **more: object) -> None:
    described = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "brain": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps({**described, **more}))
