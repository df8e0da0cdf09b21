"""However a scan is stored, its mask shows the same anatomy and lies on it to the bit."""

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from attention_unet.files.prediction_folder import prediction_path
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import CPU
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.settings import Settings
from attention_unet.network import AttentionUNet
from tests.conftest import ORIENTATIONS
from tests.inference.build import plan_of

GRID = (13, 11, 15)
TYPES = ("u1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8")


def anatomy(random):
    """A few bright and dark balls."""
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in GRID), indexing="ij"), axis=-1)
    image = random.normal(120, 8, size=GRID)
    for change in (70, -70, 50, -90):
        image[np.linalg.norm(voxels - random.uniform(2, 11, size=3), axis=-1) < random.uniform(2, 4)] += change
    return np.clip(image, 0, 255).round()


def saved(folder, name, image, kind, codes):
    """A file of one type of voxels, with the codes of its forms."""
    header = nib.Nifti1Header(endianness=kind[0] if kind[0] in "<>" else "<")
    header.set_data_dtype(kind)
    stored = nib.Nifti1Image(np.asarray(image.dataobj).astype(kind), image.affine, header)
    stored.set_sform(image.affine, code=codes[0])
    stored.set_qform(image.affine, code=codes[1])
    folder.mkdir(exist_ok=True)
    nib.save(stored, folder / f"{name}.nii.gz")


@pytest.mark.parametrize("seed", range(2))
def test_the_same_anatomy_gets_the_same_mask(tmp_path, seed):
    random = np.random.RandomState(seed)
    spacing = random.uniform(0.6, 3.0, size=3)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = random.uniform(-90, 90, size=3)
    plan = plan_of((16, 16, 16), spacing=[tuple(spacing), (1.3, 1.3, 1.3)][seed % 2])
    torch.manual_seed(seed)
    model = Model(AttentionUNet(plan.architecture).eval(), plan, CPU)
    original = nib.Nifti1Image(anatomy(random), affine)
    for number, (axes, signs) in enumerate(ORIENTATIONS):
        turned = original.as_reoriented(np.column_stack([axes, signs]))
        codes = [(1, 0), (1, 1), (2, 1), (0, 1)][number % 4]
        saved(tmp_path / "in", f"{number:02d}", turned, TYPES[number % len(TYPES)], codes)
    cases = find_inputs(tmp_path / "in", 1)
    settings = Settings(torch.float32)
    assert len(cases) == 48
    assert predict_files(cases, tmp_path / "out", [model], settings, lambda share: None) == {}
    reference = None
    for case in cases:
        scan, mask = nib.load(case.images[0]), nib.load(prediction_path(tmp_path / "out", case.id))
        assert mask.shape == scan.shape
        for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d"):
            np.testing.assert_array_equal(mask.header[field], scan.header[field])
        for field in ("qoffset_x", "qoffset_y", "qoffset_z", "pixdim"):
            np.testing.assert_array_equal(mask.header[field], scan.header[field])
        assert mask.get_data_dtype() == np.uint8
        back = ornt_transform(nib.io_orientation(scan.affine), nib.io_orientation(affine))
        labels = apply_orientation(np.asarray(mask.dataobj), back)
        reference = labels if reference is None else reference
        assert len(np.unique(reference)) > 1
        np.testing.assert_array_equal(labels, reference)
