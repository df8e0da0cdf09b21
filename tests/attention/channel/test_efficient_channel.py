import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.efficient_channel import EfficientChannelAttention, adaptive_kernel
from tests.attention.build import image, trained
from tests.reference import channel


@pytest.mark.parametrize("channels", [5, 128])
def test_equals_the_equation(channels):
    attention, x = trained(EfficientChannelAttention(Place(3, channels, channels))), image(1, channels, 3, 4, 2)
    kernel, bias = attention.conv.weight.detach().numpy().ravel(), attention.conv.bias.item()
    expected = channel.efficient_channel(x[0].numpy(), kernel, bias)
    torch.testing.assert_close(attention(x).weights.flatten(), torch.from_numpy(expected))


def test_kernel_follows_the_rule_of_the_paper():
    expected = {8: 3, 16: 3, 96: 3, 128: 5, 256: 5, 1024: 5, 2048: 7}
    assert {c: adaptive_kernel(c) for c in expected} == expected


@pytest.mark.parametrize("channels", [8, 96, 128, 2048])
def test_equals_timm(channels):
    eca = pytest.importorskip("timm.layers.eca", reason="timm needs torchvision, which is not installed here")
    attention, x = (
        trained(EfficientChannelAttention(Place(3, channels, channels, init="paper"))),
        image(2, channels, 4, 3),
    )
    judge = eca.EcaModule(channels=channels).double()
    judge.load_state_dict(attention.state_dict())
    torch.testing.assert_close(attention(x).features, judge(x))
