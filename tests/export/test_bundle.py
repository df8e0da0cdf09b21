"""MONAI runs a bundle without this package, and its masks are those of predict, nearly."""

import dataclasses
import json
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch

from attention_unet.cli import main
from attention_unet.errors import ConfigError
from attention_unet.export.bundle import ONLY_FINITE, inference_config, metadata, write_bundle
from attention_unet.inference.model_file import load_model
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import Stack
from tests.conftest import save_nifti
from tests.export.build import OVERLAPPING, around_zero, made, with_a_gap

CHANGES = {
    "as it is": lambda image: image,
    "other axes": lambda image: image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])),
    "a border of zeros": lambda image: nib.Nifti1Image(np.pad(image.get_fdata(), 4), image.affine),
    "a border of zeros around negative values": lambda image: below_zero(image),
    "a border of zeros around a mean of zero": around_zero,
    "not a number": lambda image: with_a_gap(image, (3, 4, 5)),
    "another scale": lambda image: nib.Nifti1Image(37 * image.get_fdata(), image.affine),
}


def below_zero(image):
    """Return a padded image with a value below the background, as splines leave it."""
    values = np.pad(image.get_fdata(), 10)
    values[20, 20, 20] = -1
    return nib.Nifti1Image(values, image.affine)


def run_by_monai(bundle):
    """Run a bundle as ``python -m monai.bundle run`` does."""
    from monai.bundle import ConfigWorkflow

    configs = {"config_file": str(bundle / "configs" / "inference.json"), "logging_file": False}
    meta = str(bundle / "configs" / "metadata.json")
    workflow = ConfigWorkflow(
        **configs, meta_file=meta, workflow_type="infer", bundle_root=str(bundle), run_id="evaluating"
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()


def test_masks_are_nearly_those_of_predict(real_data, tmp_path):
    pytest.importorskip("ignite")
    image = nib.load(sorted((real_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[0])
    assert main(["export", "-m", "hippocampus", "--to", "bundle", "-o", str(tmp_path / "b")]) == 0
    (tmp_path / "b" / "data").mkdir()
    for name, change in CHANGES.items():
        nib.save(change(image), tmp_path / "b" / "data" / f"{name.replace(' ', '_')}.nii.gz")
    run_by_monai(tmp_path / "b")
    model = load_model("hippocampus")
    for name in CHANGES:
        scan = tmp_path / "b" / "data" / f"{name.replace(' ', '_')}.nii.gz"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the value that is not a number
            own = model.predict(scan).label_map
        other = nib.load(tmp_path / "b" / "eval" / scan.name)
        assert other.get_data_dtype() == np.uint8
        np.testing.assert_allclose(other.affine, nib.load(scan).affine, atol=1e-5)
        for value in (1, 2):
            a, b = (np.asarray(each.dataobj) == value for each in (own, other))
            assert 2 * np.sum(a & b) / (a.sum() + b.sum()) > 0.99, name


@pytest.mark.parametrize(
    ("model", "channels", "values"),
    [
        (made(labels=Labels({"a": (1,), "b": (4,)}, (1, 4))), 1, {0, 1, 4}),
        (made(dims=2), 1, {0, 1, 4}),
        (made(labels=OVERLAPPING), 2, {0, 1}),
    ],
    ids=["integers with a gap", "2-D", "overlapping classes"],
)
def test_a_bundle_writes_the_integers_of_the_training(model, channels, values, tmp_path):
    pytest.importorskip("ignite")
    write_bundle(model, {}, tmp_path)
    random = np.random.RandomState(0)
    save_nifti(tmp_path / "data" / "x.nii.gz", random.normal(100, 20, (20, 18, 12)).astype(np.float32), np.eye(4))
    run_by_monai(tmp_path)
    found = np.asarray(nib.load(tmp_path / "eval" / "x.nii.gz").dataobj)
    assert found.shape[:3] == (20, 18, 12)
    assert found.size == channels * 20 * 18 * 12
    assert set(np.unique(found)) <= values
    assert len(np.unique(found)) > 1


def test_what_servers_read():
    model = load_model("hippocampus")
    known = metadata(model, {})["network_data_format"]
    assert known["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
    assert known["inputs"]["image"]["spatial_shape"] == list(model.plan.patch)
    assert "attention_unet" not in json.dumps(inference_config(model, False))


def test_thick_slices_that_are_kept_are_refused(tmp_path):
    model = made()
    way = dataclasses.replace(model.plan.preprocessing, stack=Stack.upright(2))
    with pytest.raises(ConfigError, match="its thick slices are kept as they are"):
        write_bundle(dataclasses.replace(model, plan=dataclasses.replace(model.plan, preprocessing=way)), {}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("skips", "free"), [("gate", True), ("triplet", True), ("state_space", False)])
def test_a_trace_that_makes_tensors_on_the_cpu_runs_there(tmp_path, skips, free):
    write_bundle(made(skips=skips), {}, tmp_path)
    device = json.loads((tmp_path / "configs" / "inference.json").read_text())["device"]
    assert ("cuda" in device) == free
    assert "'cpu'" in device


def test_what_is_not_finite_becomes_the_lowest_value_of_its_channel():
    x = torch.tensor([[5.0, torch.nan, 7.0], [0.5, -1.0, torch.inf]]).reshape(2, 3, 1, 1)
    found = eval(ONLY_FINITE.removeprefix("$"))(x)
    assert found.flatten(1).tolist() == [[5.0, 5.0, 7.0], [0.5, -1.0, -1.0]]
