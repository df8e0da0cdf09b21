"""Changes of values, each judged by a slow or closed form."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from attention_unet.preparation.intensity import (
    add_noise,
    apply_bias_field,
    apply_gamma,
    blur,
    lower_resolution,
    scale_brightness,
    scale_contrast,
    smooth_masked,
)


@pytest.fixture(params=[(9, 12), (9, 12, 10)], ids=["2-D", "3-D"])
def image(request):
    random = np.random.RandomState(0)
    return torch.from_numpy(
        ndimage.gaussian_filter(random.normal(size=(2, 2, *request.param)), (0, 0, *(1 for _ in request.param)))
    ).float()


def strengths(*values):
    return torch.tensor(values).reshape(2, 2)


def test_blur_equals_scipy(image):
    sd = strengths(0.5, 0.7, 0.8, 1.0)
    after = blur(image, sd)
    for n in range(2):
        for c in range(2):
            slow = ndimage.gaussian_filter(image[n, c].numpy(), float(sd[n, c]), mode="nearest", radius=3)
            np.testing.assert_allclose(after[n, c].numpy(), slow, atol=1e-5)


@pytest.mark.parametrize(("smooth", "strength"), [(blur, 0.8), (lower_resolution, 0.6)])
def test_masked_scans_get_the_edges_that_they_have_if_they_are_smoothed_before_normalisation(image, smooth, strength):
    scan = 100 + 10 * image - 10 * image.amin()
    scan[..., :4] = 0  # outside of the mask
    scan[..., 6, 8] = 1e-3  # as dark as outside
    strength = torch.full((2, 2) if smooth is blur else (2, 1), strength)
    after = smooth_masked(smooth, torch.where(scan == 0, 0, (scan - 99) / 10), strength)
    slow = (smooth(scan, strength) - 99) / 10
    outside = after == 0
    torch.testing.assert_close(after[~outside], slow[~outside], atol=1e-3, rtol=1e-4)
    assert slow[outside].max() < -9  # hardly reached by tissue
    assert outside[..., 0].all()
    assert not outside[..., 4:].any()
    assert (slow < -3)[~outside].any()  # the rim


def test_a_bias_field_is_smooth_and_leaves_the_darkest(image):
    field = torch.full((2, 2, *[4] * (image.ndim - 2)), 0.3)
    darkest = image.flatten(2).amin(dim=2).reshape(2, 2, *[1] * (image.ndim - 2))
    torch.testing.assert_close(apply_bias_field(image, field), (image - darkest) * np.exp(0.3) + darkest)
    field[..., 0] = -0.3
    ratio = ((apply_bias_field(image, field) - darkest) / (image - darkest))[image > darkest + 0.1]
    assert float(ratio.min()) >= np.exp(-0.3) - 1e-3
    assert float(ratio.max()) <= np.exp(0.3) + 1e-3
    assert float(ratio.max() / ratio.min()) > 1.5


def test_brightness(image):
    torch.testing.assert_close(scale_brightness(image, strengths(1.0, 2.0, 0.5, 3.0))[1, 1], 3 * image[1, 1])


def test_contrast_keeps_mean_and_range(image):
    after = scale_contrast(image, strengths(0.5, 1.2, 0.75, 1.25))
    assert float(after[0, 0].std()) == pytest.approx(0.5 * float(image[0, 0].std()), rel=1e-4)
    assert float(after[0, 0].mean()) == pytest.approx(float(image[0, 0].mean()), abs=1e-5)
    assert float(after[1, 1].max()) <= float(image[1, 1].max())
    assert float(after[1, 1].std()) > float(image[1, 1].std())


def test_gamma_keeps_order_mean_and_deviation(image):
    after = apply_gamma(image, strengths(0.7, 1.0, 1.2, 1.5))
    for n in range(2):
        for c in range(2):
            assert float(after[n, c].mean()) == pytest.approx(float(image[n, c].mean()), abs=1e-5)
            assert float(after[n, c].std()) == pytest.approx(float(image[n, c].std()), rel=1e-4)
    assert torch.equal(after[1, 1].flatten().argsort(), image[1, 1].flatten().argsort())
    torch.testing.assert_close(after[0, 1], image[0, 1], atol=1e-5, rtol=1e-4)
    scaled = (image[1, 1] - image[1, 1].min()) / (image[1, 1].max() - image[1, 1].min())
    assert np.corrcoef(after[1, 1].flatten(), (scaled**1.5).flatten())[0, 1] == pytest.approx(1.0, abs=1e-5)


def test_a_constant_image_stays_finite():
    flat = torch.ones(1, 1, 6, 6, 6)
    for make in (apply_gamma, scale_contrast):
        assert torch.isfinite(make(flat, torch.full((1, 1), 1.3))).all()


def test_low_resolution_loses_detail_and_keeps_the_grid(image):
    after = lower_resolution(image, torch.tensor([[0.5], [1.0]]))
    assert after.shape == image.shape
    torch.testing.assert_close(after[1], image[1])
    assert float(after[0].diff(dim=-1).abs().mean()) < float(image[0].diff(dim=-1).abs().mean())


def test_low_resolution_does_not_shift_the_image_against_its_target():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    after = lower_resolution(ramp, torch.tensor([[0.5]]))
    torch.testing.assert_close(after[..., 2:-2], ramp[..., 2:-2])


def test_noise_follows_its_seed_and_strength():
    blank = torch.zeros(3, 1, 30, 30, 30)
    after = add_noise(blank, torch.tensor([[0.1], [0.2], [0.1]]), torch.tensor([[5], [6], [5]]))
    assert float(after[0].std()) == pytest.approx(0.1, rel=0.02)
    assert float(after[1].std()) == pytest.approx(0.2, rel=0.02)
    assert torch.equal(after[0], after[2])
    assert torch.equal(add_noise(blank[:1], torch.tensor([[0.1]]), torch.tensor([[5]]))[0], after[0])
