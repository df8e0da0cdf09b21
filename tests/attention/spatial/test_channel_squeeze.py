import torch

from attention_unet.attention import build
from attention_unet.attention.base import Place
from attention_unet.attention.spatial.channel_squeeze import ChannelSqueeze
from tests.attention.build import arrays, image, trained
from tests.reference import channel
from tests.reference.dense import convolve, sigmoid


def test_equals_the_equation():
    attention, x = trained(ChannelSqueeze(Place(3, 4, 4))), image(1, 4, 3, 4, 2)
    expected = sigmoid(convolve(x[0].numpy(), *arrays(attention).values()))
    torch.testing.assert_close(attention(x).weights[0], torch.from_numpy(expected))


def test_scse_is_the_larger_of_both():
    """Roy et al. 2019, as in the authors' code: max(cSE(x), sSE(x)), a reduction of 2."""
    attention, x = trained(build("scse", dims=2, channels=16)), image(1, 16, 3, 4)
    p, case = arrays(attention), x[0].numpy()
    by_channel = channel.squeeze_excitation(
        case,
        *(p[f"parts.0.{n}"] for n in ("reduce.weight", "reduce.bias")),
        *(p[f"parts.0.{n}"] for n in ("expand.weight", "expand.bias")),
    )
    by_voxel = sigmoid(convolve(case, p["parts.1.squeeze.weight"], p["parts.1.squeeze.bias"]))
    expected = torch.maximum(torch.from_numpy(by_channel[:, None, None] * case), torch.from_numpy(by_voxel * case))
    torch.testing.assert_close(attention(x).features[0], expected)
    assert attention.parts[0].reduce.out_features == 8


def test_scse_adds_by_option():
    """The sum of MICCAI 2018; the larger of both is of TMI 2019."""
    attention, x = trained(build({"scse": {"combine": "add"}}, dims=2, channels=8)), image(2, 8, 4, 3)
    parts = [part(x).features for part in attention.parts]
    torch.testing.assert_close(attention(x).features, parts[0] + parts[1])
