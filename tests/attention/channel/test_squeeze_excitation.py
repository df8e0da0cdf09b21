import pytest
import torch
from monai.networks.blocks import ChannelSELayer

from attention_unet.attention.base import Place
from attention_unet.attention.channel.squeeze_excitation import MeanMaximumExcitation, SqueezeExcitation
from tests.attention.build import arrays, image, trained
from tests.reference import channel


@pytest.mark.parametrize("form", [SqueezeExcitation, MeanMaximumExcitation])
@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid, form):
    attention, x = trained(form(Place(3, 10, 10), reduction=2)), image(2, 10, *grid)
    p = arrays(attention)
    weights = attention(x).weights.detach().flatten(1)
    for case, found in zip(x.numpy(), weights, strict=True):
        parameters = p["reduce.weight"], p["reduce.bias"], p["expand.weight"], p["expand.bias"]
        expected = torch.from_numpy(channel.squeeze_excitation(case, *parameters, form is MeanMaximumExcitation))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_monai(dims):
    attention, x = trained(SqueezeExcitation(Place(3, 32, 32), reduction=4)), image(2, 32, *(5, 4, 3)[:dims])
    judge = ChannelSELayer(dims, 32, r=4).double()
    judge.load_state_dict(
        dict(
            zip(["fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"], attention.state_dict().values(), strict=True)
        )
    )
    torch.testing.assert_close(attention(x).features, judge(x))


def test_cbam_channel_part_equals_timm():
    cbam = pytest.importorskip("timm.layers.cbam", reason="timm needs torchvision, which is not installed here")
    attention, x = trained(MeanMaximumExcitation(Place(3, 32, 32), reduction=4)), image(2, 32, 5, 4)
    judge = cbam.ChannelAttn(32, rd_ratio=0.25, mlp_bias=True).double()
    names = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    values = [v if v.dim() == 1 else v[..., None, None] for v in attention.state_dict().values()]
    judge.load_state_dict(dict(zip(names, values, strict=True)))
    torch.testing.assert_close(attention(x).features, judge(x))


def test_the_open_form_of_a_narrow_layer_keeps_eight_channels():
    assert SqueezeExcitation(Place(3, 16, 16)).reduce.out_features == 8
    assert SqueezeExcitation(Place(3, 6, 6)).reduce.out_features == 6
    assert SqueezeExcitation(Place(3, 256, 256)).reduce.out_features == 16
    assert SqueezeExcitation(Place(3, 32, 32, init="paper")).reduce.out_features == 2
