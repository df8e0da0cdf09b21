import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.channel_self_attention import ChannelSelfAttention
from tests.attention.build import image, trained
from tests.reference import channel


@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid, init):
    attention, x = trained(ChannelSelfAttention(Place(len(grid), 5, 5, init=init))), image(2, 5, *grid) / 4
    temperature = attention.temperature.item() if init == "open" else None
    features, weights = attention(x)
    for case, own, received in zip(x.numpy(), features, weights.flatten(1), strict=True):
        gathered, expected = channel.between_channels(case, temperature)
        torch.testing.assert_close(received, torch.from_numpy(expected))
        torch.testing.assert_close(own, torch.from_numpy(case + attention.gamma.item() * gathered))


def test_starts_as_the_identity_with_a_temperature_of_one():
    attention = ChannelSelfAttention(Place(3, 5, 5))
    assert attention.gamma.item() == 0
    assert attention.temperature.item() == 1


def test_channels_attend_to_those_that_resemble_them():
    """The authors' code gives unlike channels the larger share."""
    x = torch.zeros(1, 3, 4, 4)
    x[:, :2, :2] = 1
    x[:, 2, 2:] = 1
    shares = ChannelSelfAttention(Place(2, 3, 3)).eval()(x).weights.flatten()
    assert shares[0] == shares[1] > shares[2]


def test_large_products_differ_under_autocast():
    x = torch.ones(1, 2, 20, 20)
    x[:, 1] = 0.9995  # products of 40,000 and 39,980: bfloat16 knows multiples of 256
    attention = ChannelSelfAttention(Place(2, 2, 2, init="paper"))
    expected = attention(x * 10).weights
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attention(x * 10).weights, expected)
