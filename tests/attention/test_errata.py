"""Mistakes that are copied from text to text, each shown to be one; docs/errata.md lists them."""

import math

import torch

from attention_unet.attention.base import Place
from attention_unet.attention.cost import measure
from attention_unet.attention.pairwise.scaled_dot_product import SelfAttention, tokens
from tests.attention.build import image, trained


def test_self_attention_gives_features_and_a_map_apart():
    attention, x = trained(SelfAttention(Place(2, 16, 16))), image(1, 16, 5, 6)
    torch.nn.init.zeros_(attention.gamma)
    features, received = attention(x, with_map=True)
    assert received.shape == (1, 1, 5, 6)
    assert received.max() > 1.1 * received.min()
    torch.testing.assert_close(features, x)  # what is gathered is added; the map multiplies nothing


def test_attention_is_between_voxels():
    """Between channels one voxel's change would reach the others only through sums that its key does not enter."""
    attention, x = trained(SelfAttention(Place(2, 16, 16))), image(1, 16, 3, 4)
    row = attention.row(x, None, (1, 2))
    assert row.shape == (1, 1, 3, 4)
    torch.testing.assert_close(row.sum(), torch.tensor(1.0, dtype=torch.float64))
    # A key that no query likes is not gathered: its value may be anything.
    torch.nn.init.zeros_(attention.query.weight)
    attention.query.bias.data.fill_(1.0)
    attention.key.weight.data.fill_(1.0)
    x[..., 0, 0] = -100.0
    before = attention(x).features[..., 1:, :]
    x[..., 0, 0] = -200.0
    torch.testing.assert_close(attention(x).features[..., 1:, :], before)


def test_no_activation_flattens_the_softmax():
    attention, x = trained(SelfAttention(Place(2, 16, 16)), std=1.5), image(1, 16, 14, 14)
    row = attention.row(x, None, (3, 4))
    assert row.max() / row.min() > math.e**2
    products = tokens(attention.query(x)) @ tokens(attention.key(x)).transpose(2, 3) * attention.scale
    for activation, bound in ((torch.sigmoid, math.e), (torch.tanh, math.e**2)):
        flat = torch.softmax(activation(products), dim=3)
        assert float((flat.amax(dim=3) / flat.amin(dim=3)).max()) <= bound + 1e-9


def test_few_channels_still_attend():
    attention, x = trained(SelfAttention(Place(2, 4, 4))), image(1, 4, 6, 6)
    assert attention.query.out_channels == 1
    row = attention.row(x, None, (0, 0))
    assert row.max() > 1.5 * row.min()


def test_spatial_attention_is_not_always_lighter():
    costs = {
        name: measure(name, 256, (56, 56), init="paper") for name in ("spatial", "cbam_channel", "eca", "gct", "se")
    }
    assert costs["spatial"].parameters < costs["cbam_channel"].parameters
    assert costs["eca"].parameters < costs["spatial"].parameters < costs["gct"].parameters
    assert all(costs["spatial"].macs > costs[name].macs for name in ("cbam_channel", "eca", "gct", "se"))
