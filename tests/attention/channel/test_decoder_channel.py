import pytest
import torch

from attention_unet.attention.base import OPEN_BIAS, Place
from attention_unet.attention.channel.decoder_channel import DecoderChannelAttention
from tests.attention.build import arrays, image, trained
from tests.reference import channel


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid):
    place = Place(len(grid), 5, 3)
    attention, x, gate = (
        trained(DecoderChannelAttention(place)),
        image(2, 5, *grid),
        image(2, 3, *(2 * n for n in grid)),
    )
    p = arrays(attention)
    names = ("from_skip.weight", "from_skip.bias", "from_gate.weight", "from_gate.bias")
    for case, signal, weights in zip(x.numpy(), gate.numpy(), attention(x, gate).weights.flatten(1), strict=True):
        expected = channel.decoder_channel(case, signal, *(p[name] for name in names))
        torch.testing.assert_close(weights, torch.from_numpy(expected))


def test_only_the_open_form_starts_open():
    opened, published = (DecoderChannelAttention(Place(2, 64, 64, init=init)) for init in ("open", "paper"))
    for layer in (opened.from_skip, opened.from_gate):
        assert (layer.bias == OPEN_BIAS).all()
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert published.from_skip.bias.abs().max() < 64**-0.5
