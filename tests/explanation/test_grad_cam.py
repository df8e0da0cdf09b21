import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attention_unet.explanation.grad_cam import grad_cams
from attention_unet.inference.model_file import load_model
from attention_unet.preparation.preprocessing import preprocess
from attention_unet.scans.volumes import volume_of_array
from tests.conftest import oblique_affine
from tests.export.build import made


def cam_by_hand(network, x, channel):
    """Return the map of an image (1, C, *S) by the definition, (*S)."""
    kept = {}
    hook = network.encoder[-1].activation.register_forward_hook(
        lambda module, inputs, output: kept.update(features=output)
    )
    logits = network(x)
    hook.remove()
    predicted = logits.argmax(dim=1) == channel
    assert predicted.any()
    (slope,) = torch.autograd.grad((logits[:, channel] * predicted).sum(), kept["features"])
    axes = tuple(range(2, x.dim()))
    cam = torch.relu((kept["features"] * slope.mean(dim=axes, keepdim=True)).sum(dim=1, keepdim=True))
    mode = {2: "bilinear", 3: "trilinear"}[len(axes)]
    return F.interpolate(cam, x.shape[2:], mode=mode, align_corners=False)[0, 0].detach().numpy()


@pytest.mark.parametrize("channel", [1, 2])
def test_it_is_what_the_paper_defines(run, channel):
    """The scan has the voxel size of the network, and one window covers it."""
    model = load_model(run)
    assert model.plan.patch == (24, 24, 12)
    affine = oblique_affine(model.plan.preprocessing.spacing_mm, degrees=5)
    volume = volume_of_array(np.random.default_rng(0).normal(size=(24, 24, 12)).astype(np.float32), affine)
    found = [*grad_cams(model, volume)][channel - 1]
    expected = cam_by_hand(model.network, preprocess(volume, model.plan.preprocessing).image[None], channel)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)


def test_a_class_that_is_nowhere_has_none(run):
    model = load_model(run)
    with torch.no_grad():
        model.network.heads[-1].bias[2] -= 1e4
    volume = volume_of_array(
        np.random.default_rng(0).normal(size=(30, 24, 12)).astype(np.float32), np.diag([2.5, 2.5, 3, 1])
    )
    first, second, _ = grad_cams(model, volume)
    assert first.max() == 1
    assert not second.any()


def test_a_network_of_slices_sees_each_slice_alone():
    model = made(dims=2)
    assert (model.plan.patch, model.plan.slice_axis) == ((16, 1, 12), 1)
    array = np.random.default_rng(0).normal(size=(16, 3, 12)).astype(np.float32)
    volume = volume_of_array(array, np.diag([*model.plan.preprocessing.spacing_mm, 1]))
    found = next(grad_cams(model, volume))
    x = preprocess(volume, model.plan.preprocessing).image[None]
    expected = np.stack([cam_by_hand(model.network, x[:, :, :, j], 1) for j in range(3)], axis=1)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)
