"""The example that runs ONNX without torch gives the masks of predict, on scans that resampling and windows change."""

import dataclasses
import importlib.util
import json
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from attention_unet.inference.model_file import load_model
from attention_unet.inference.settings import Settings
from attention_unet.scans.orientation import find_stack, nearest_axes
from tests.conftest import REPOSITORY
from tests.export.build import around_zero, with_a_gap

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(hippocampus_onnx):
    """Return the shipped model, its ONNX file, and the function of the example."""
    loader = importlib.util.spec_from_file_location("onnx_predict", REPOSITORY / "examples" / "onnx_predict.py")
    example = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(example)
    return load_model("hippocampus"), hippocampus_onnx, example.segment


def rescaled(scan, voxel_mm):
    """Return a scan with other voxels: the first centres coincide."""
    zooms = np.array(voxel_mm, dtype=float)
    sampled = ndimage.affine_transform(
        scan.get_fdata(),
        zooms,
        output_shape=tuple(int((n - 1) / z) + 1 for n, z in zip(scan.shape, zooms, strict=True)),
        order=1,
    )
    return nib.Nifti1Image(sampled.astype(np.float32), scan.affine @ np.diag([*zooms, 1]))


def turned(scan):
    """Return a scan with its axes stored in another order, and in an oblique frame."""
    angle = np.radians(20)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0, 5], [np.sin(angle), np.cos(angle), 0, 7], [0, 0, 1, -3], [0, 0, 0, 1]]
    )
    stored = scan.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    return nib.Nifti1Image(stored.get_fdata(dtype=np.float32), rotation @ stored.affine)


def padded(scan):
    """Return a scan with noise around it, so that several windows cover it."""
    noise = np.random.RandomState(0).uniform(1, 20, size=[n + 30 for n in scan.shape]).astype(np.float32)
    noise[15:-15, 15:-15, 15:-15] = scan.get_fdata()
    return nib.Nifti1Image(noise, scan.affine)


def with_a_spike(scan):
    """Return a scan with a voxel that is far brighter than the others."""
    values = scan.get_fdata(dtype=np.float32)
    values[10, 12, 14] = 100 * values.max()
    return nib.Nifti1Image(values, scan.affine)


def in_metres(scan):
    """Return the scan with its lengths in metres."""
    small = nib.Nifti1Image(scan.get_fdata(dtype=np.float32), np.diag([0.001, 0.001, 0.001, 1]) @ scan.affine)
    small.header.set_xyzt_units("meter")
    return small


CHANGES = {
    "as it is": lambda scan: scan,
    "in metres": in_metres,
    "small voxels": lambda scan: rescaled(scan, (0.6, 0.6, 0.6)),
    "thick slices": lambda scan: rescaled(scan, (0.7, 0.7, 1.5)),
    "large voxels": lambda scan: rescaled(scan, (2, 2, 2)),
    "a spike": with_a_spike,
    "zeros around a mean of zero": around_zero,
    "turned": turned,
    "noise around it": padded,
    "large voxels, one of them not a number": lambda scan: with_a_gap(rescaled(scan, (2, 2, 2))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_example_gives_the_masks_of_predict(real_data, exported, change):
    scan = nib.load(min((real_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz")))
    compare_masks(exported, CHANGES[change](nib.Nifti1Image(scan.get_fdata(dtype=np.float32), scan.affine)))


@pytest.mark.parametrize("voxel_mm", [(1, 1, 1), (0.6, 0.7, 0.8), (1.3, 1, 1.6), (2 / 3, 2 / 3, 0.4)])
def test_the_example_gives_the_masks_of_predict_on_masked_scans(real_data, exported, voxel_mm, tmp_path):
    masked = prepared_otherwise(exported, tmp_path / "masked.onnx", nonzero=True)
    scan = rescaled(nib.load(min((real_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))), voxel_mm)
    values = scan.get_fdata(dtype=np.float32)
    values[:6], values[:, -5:], values[10:12, 12, 14] = 0, 0, 0
    compare_masks(masked, nib.Nifti1Image(values, scan.affine))


@pytest.mark.parametrize(
    ("slice_mm", "degrees", "stacked"),
    [(3, 0, True), (2.2, 40, True), (3.5, 110, True), (7, 0, True), (3, 80, False), (1.5, 0, False)],
)
def test_the_example_gives_the_masks_of_predict_on_thick_slices(
    real_data, exported, slice_mm, degrees, stacked, tmp_path
):
    scan = rescaled(nib.load(min((real_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))), (1, 1, slice_mm))
    stack = find_stack([tilted(np.diag([1.0, 1.0, 3.0, 1.0]), 15)])
    affine = tilted(scan.affine, 15 + degrees)
    assert nearest_axes(affine, stack).stacked == stacked
    thick = prepared_otherwise(exported, tmp_path / "thick.onnx", spacing_mm=(1.0, 1.0, 3.0), stack=stack)
    compare_masks(thick, nib.Nifti1Image(scan.get_fdata(dtype=np.float32), affine).slicer[:, ::-1])


def tilted(affine, degrees):
    """Return an affine turned about the patient's first axis."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def prepared_otherwise(exported, file, **changes):
    """Return a model, its ONNX file and the function of the example, with other preprocessing."""
    model, own, segment = exported
    preprocessing = dataclasses.replace(model.plan.preprocessing, **changes)
    model = dataclasses.replace(model, plan=dataclasses.replace(model.plan, preprocessing=preprocessing))
    network = onnx.load(own)
    (plan,) = (each for each in network.metadata_props if each.key == "plan")
    plan.value = json.dumps(json.loads(plan.value) | {"preprocessing": dataclasses.asdict(preprocessing)})
    onnx.save(network, file)
    return model, file, segment


def compare_masks(exported, scan):
    """Compare the masks of a model and of the example on a scan."""
    model, file, segment = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the voxel that is not a number
        expected = np.asarray(model.predict(scan, Settings(torch.float32, drop_small=())).label_map.dataobj)
    mask = segment(file, scan)
    np.testing.assert_array_equal(mask.affine, scan.affine)
    for value in (1, 2):
        ours, theirs = np.asarray(mask.dataobj) == value, expected == value
        assert theirs.sum() > 50
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.999
