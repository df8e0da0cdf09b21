import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.gated_channel import GatedChannelTransformation
from tests.attention.build import arrays, image, trained
from tests.reference import channel


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_equals_the_equation(scale):
    attention, x = trained(GatedChannelTransformation(Place(3, 5, 5))), scale * image(1, 5, 3, 4, 2)
    expected = channel.gated_channel(x[0].numpy(), *(arrays(attention)[name] for name in ("alpha", "gamma", "beta")))
    torch.testing.assert_close(attention(x).weights.flatten(), torch.from_numpy(expected), atol=1e-6, rtol=1e-5)


def test_sign_of_gamma_says_whether_channels_compete():
    x = image(1, 2, 4, 4) * torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
    for gamma, strong_gains in ((0.5, True), (-0.5, False)):
        attention = GatedChannelTransformation(Place(3, 2, 2)).double()
        torch.nn.init.constant_(attention.gamma, gamma)
        weak, strong = attention(x).weights.flatten()
        assert (strong > weak) == strong_gains


def test_an_empty_image_stays_finite():
    attention = trained(GatedChannelTransformation(Place(3, 3, 3)))
    assert attention(torch.zeros(1, 3, 4, 4, dtype=torch.float64)).features.isfinite().all()
