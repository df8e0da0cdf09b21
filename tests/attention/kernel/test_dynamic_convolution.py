import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.kernel.dynamic_convolution import DynamicConvolution
from tests.attention.build import arrays, image, trained
from tests.reference.heads import dynamic


@pytest.mark.parametrize(("kernels", "temperature"), [(4, 30.0), (2, 0.5)])
@pytest.mark.parametrize("grid", [(5, 4), (3, 5, 4), (1, 5, 4)])
def test_equals_the_equation(grid, kernels, temperature):
    attention = trained(DynamicConvolution(Place(len(grid), 8, 8), kernels=kernels, temperature=temperature))
    p, x = arrays(attention), image(2, 8, *grid)
    result = attention(x)
    layers = [(p[f"{name}.weight"], p[f"{name}.bias"]) for name in ("reduce", "choose")]
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        expected, shares = dynamic(case, p["weight"], p["bias"], *layers, temperature)
        torch.testing.assert_close(features, torch.from_numpy(expected))
        torch.testing.assert_close(weights.flatten(), torch.from_numpy(shares))


def test_one_plane_in_bfloat16():
    """oneDNN returns other numbers where only padding is beside the plane."""
    attention, x = DynamicConvolution(Place(3, 12, 12)), torch.randn(2, 12, 1, 9, 10)
    exact = attention(x).features
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(attention(x).features.float(), exact, rtol=0, atol=0.05)


def test_defaults_are_the_published_ones():
    attention = DynamicConvolution(Place(2, 64, 64, init="paper"))
    assert (len(attention.weight), attention.reduce.out_features, attention.temperature) == (4, 16, 30)


def test_the_open_form_starts_near_the_identity_and_with_kernels_that_differ():
    attention, x = DynamicConvolution(Place(3, 8, 8)), torch.randn(1, 8, 5, 5, 5)
    assert (attention(x).features - x).abs().max() < 0.1
    difference = (attention.weight[0] - attention.weight[1]).flatten(1).norm(dim=1)
    assert difference.mean().item() == pytest.approx(0.01 * 2**0.5, rel=0.1)
