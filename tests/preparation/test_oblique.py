"""Oblique stacks of thick slices: planned, preprocessed and predicted as one kind of scan."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from attention_unet.config import Config, DataConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import make_plan
from attention_unet.preparation.preprocessing import preprocess
from attention_unet.scans.volumes import read_volume
from tests.conftest import save_nifti
from tests.preparation.build import LAPTOP

TILTS = [25, 35, 42, 48, 55, 65]  # degrees; by the nearest axes, half of them would lie differently


@pytest.fixture
def stacks(tmp_path):
    """The same stack of slices, with headers of different tilts."""
    image = np.random.RandomState(0).normal(size=(40, 44, 9)).astype(np.float32)
    label = np.zeros(image.shape, dtype=np.uint8)
    label[10:30, 12:30, 2:7] = 1
    for tilt in TILTS:
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("x", tilt, degrees=True).as_matrix() * [1.5, 1.5, 9.0]
        save_nifti(tmp_path / "images" / f"{tilt}.nii.gz", image + tilt, affine)
        save_nifti(tmp_path / "labels" / f"{tilt}.nii.gz", label, affine)
    return tmp_path


def test_all_have_their_slices_along_one_axis(stacks):
    dataset = find_dataset(DataConfig(root=str(stacks)))
    plan = make_plan(Config(), dataset, take_fingerprint(dataset.cases, dataset.labels), LAPTOP)
    assert sorted(plan.preprocessing.spacing_mm) == pytest.approx([1.5, 1.5, 9.0], abs=1e-3)
    assert Plan.from_json(plan.to_json()) == plan
    images = [preprocess(read_volume(case.images[0]), plan.preprocessing).image for case in dataset.cases]
    for image in images[1:]:
        torch.testing.assert_close(image, images[0], atol=1e-4, rtol=0)
