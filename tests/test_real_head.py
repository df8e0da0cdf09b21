"""A whole head with labels that Debian ships (mricron-data: Colin27 and AAL): left and right are not swapped."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.cli import main
from attention_unet.scans.volumes import read_labels
from tests.scans.dicom_files import as_itk

TEMPLATES = Path("/usr/share/mricron/templates")
LEFT, RIGHT = 37, 38  # hippocampi in AAL
LAS, PIR, LPI = (("LR", "PA", "IS"), ("AP", "SI", "LR"), ("RL", "AP", "SI"))


@pytest.fixture
def dataset(tmp_path):
    """Return a dataset of one head with noise in four orders of axes and three formats; the classes are its sides."""
    if not (TEMPLATES / "ch2.nii.gz").is_file():
        pytest.skip("needs the Debian package mricron-data")
    head, atlas = (nib.load(TEMPLATES / f"{name}.nii.gz") for name in ("ch2", "aal"))
    labels = np.asarray(atlas.dataobj)
    sides = nib.Nifti1Image(np.select([labels == LEFT, labels == RIGHT], [1, 2]).astype(np.uint8), head.affine)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "heads" / folder).mkdir(parents=True)
    for name, axes in {"a": None, "b": LAS, "c": PIR, "d": LPI}.items():
        turn = nib.orientations.io_orientation(head.affine) if axes is None else _turn_to(head.affine, axes)
        noise = np.random.RandomState(ord(name)).normal(scale=4, size=head.shape)  # or it counts as the same scan
        noisy = nib.Nifti1Image((np.asarray(head.dataobj) + noise).astype(np.float32), head.affine)
        for folder, image in (("imagesTr", noisy), ("labelsTr", sides)):
            turned = image.as_reoriented(turn)
            _save(turned, tmp_path / "heads" / folder / name, {"c": ".mgz", "d": ".nrrd"}.get(name, ".nii.gz"))
    description = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "left": 1, "right": 2}}
    (tmp_path / "heads" / "dataset.json").write_text(json.dumps(description))
    return tmp_path / "heads"


def _turn_to(affine, axes):
    target = nib.orientations.axcodes2ornt([end[1] for end in axes])
    return nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), target)


def _save(image, path, ending):
    array = np.ascontiguousarray(image.dataobj)
    if ending == ".mgz":
        nib.MGHImage(array, image.affine).to_filename(f"{path}{ending}")
    elif ending == ".nrrd":
        sitk.WriteImage(as_itk(array, image.affine), f"{path}{ending}")
    else:
        nib.Nifti1Image(array, image.affine).to_filename(f"{path}{ending}")


@pytest.mark.long
def test_left_and_right_are_not_swapped(dataset, tmp_path):
    small = ["--training.steps=600", "--training.validations=1", "--network.base_channels=8", "--training.batch=2"]
    grid = ["--data.spacing_mm=[2,2,2]", "--data.patch=[40,48,40]", "--data.folds=4", "--data.locate=false"]
    assert main(["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *small, *grid]) == 0
    assert main(["predict", f"-i={dataset / 'imagesTr'}", f"-o={tmp_path / 'masks'}", f"-m={tmp_path / 'run'}"]) == 0
    for case in "abcd":
        found, truth = (read_labels(next(f.glob(f"{case}.*"))) for f in (tmp_path / "masks", dataset / "labelsTr"))
        np.testing.assert_allclose(found.affine, truth.affine, atol=1e-4)
        for value, side in ((1, -1), (2, 1)):
            mask, true = found.array[0] == value, truth.array[0] == value
            assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.6
            middle = nib.affines.apply_affine(found.affine, np.argwhere(mask).mean(axis=0))
            assert side * middle[0] > 15  # mm; RAS+: the right is positive
