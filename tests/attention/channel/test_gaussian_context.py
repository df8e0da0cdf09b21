import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.gaussian_context import GaussianContextTransformer
from tests.attention.build import image
from tests.reference import channel


@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_equals_the_equation(scale):
    x = scale * image(1, 7, 3, 4, 2)
    expected = torch.from_numpy(channel.gaussian_context(x[0].numpy()))
    torch.testing.assert_close(
        GaussianContextTransformer(Place(3, 4, 4))(x).weights.flatten(), expected, atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("width", [2.0, 3.0])
def test_the_width_divides(width):
    """Copied code has exp(-(z^2 / 2 * c)), which multiplies by the width it should divide by the square of."""
    means = torch.tensor([-1.0, 1.0], dtype=torch.float64)  # one standard deviation from their mean
    attention = GaussianContextTransformer(Place(2, 2, 2), width=width)
    weights = attention(means.reshape(1, 2, 1, 1).expand(1, 2, 4, 4)).weights
    expected = torch.full((2,), -1 / (2 * width**2), dtype=torch.float64).exp()
    torch.testing.assert_close(weights.flatten(), expected, atol=1e-5, rtol=0)
