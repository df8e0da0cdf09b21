import numpy as np
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.geometric.box import cut_out, put_back
from attention_unet.attention.geometric.spatial_transformer import SpatialTransformer
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, instance_norm


def test_looks_into_the_box_and_puts_back():
    attention, x = trained(SpatialTransformer(Place(2, 4, 4)), std=0.1), image(1, 4, 6, 5)
    centre, extent = attention.box(x)
    p = arrays(attention)
    cut = cut_out(x, centre, extent, (6, 5))[0].detach().numpy()
    seen = instance_norm(convolve(cut, p["look.0.weight"], groups=4), p["look.1.weight"], p["look.1.bias"])
    found = convolve(seen.clip(min=0), p["look.3.weight"], p["look.3.bias"])
    expected = x + put_back(torch.from_numpy(found)[None], centre, extent, (6, 5))
    torch.testing.assert_close(attention(x).features, expected)


def test_starts_with_the_box_around_everything():
    attention, x = SpatialTransformer(Place(3, 4, 4)).double(), image(2, 4, 6, 5, 4)
    centre, extent = attention.box(x)
    assert centre.abs().max() == 0
    torch.testing.assert_close(extent, torch.ones_like(extent))
    torch.testing.assert_close(attention(x).weights, torch.ones(2, 1, 6, 5, 4, dtype=torch.float64))


def test_nothing_is_added_outside_the_box():
    attention, x = trained(SpatialTransformer(Place(2, 4, 4))), image(1, 4, 16, 16)
    torch.nn.init.zeros_(attention.locate_out.weight)
    attention.locate_out.bias.data.copy_(torch.tensor([-0.6, -0.6, -1.5, -1.5]))  # a small box in a corner
    features, inside = attention(x)
    outside = (inside == 0).expand_as(x)
    assert outside[..., 8:, 8:].all()
    assert not outside.all()
    torch.testing.assert_close(features[outside], x[outside], atol=0, rtol=0)


def test_finds_a_blob_by_gradient():
    """The box is drawn to where looking pays: a toy task of one bright square."""
    torch.manual_seed(0)
    attention = SpatialTransformer(Place(2, 4, 4))
    optimizer = torch.optim.Adam(attention.parameters(), lr=0.01)
    x = torch.zeros(8, 4, 16, 16)
    corners = torch.tensor([[2, 2], [2, 10], [10, 2], [10, 10]]).repeat(2, 1)
    for case, (row, column) in zip(x, corners.tolist(), strict=True):
        case[:, row : row + 4, column : column + 4] = 1
    truth = (corners + 2) / 8 - 1.0
    for _ in range(150):
        optimizer.zero_grad()
        centre, extent = attention.box(x)
        # Bright inside a box of a quarter of the grid: the sampled content, not the truth, is what the loss sees.
        loss = -cut_out(x, centre, 0.35 * extent / extent, (8, 8)).mean()
        loss.backward()
        optimizer.step()
    assert float((attention.box(x)[0] - truth).abs().max()) < 0.25


def test_the_box_cannot_leave_the_grid_or_vanish():
    """So that there is a way back."""
    attention, x = SpatialTransformer(Place(2, 4, 4)), torch.randn(1, 4, 8, 8)
    for far in (-50.0, 50.0):
        torch.nn.init.constant_(attention.locate_out.bias, far)
        centre, extent = attention.box(x)
        assert centre.abs().max() <= 1
        torch.testing.assert_close(extent, torch.exp(torch.full_like(extent, 2.0 if far > 0 else -2.0)))


def test_the_box_follows_from_averages_layer_by_layer():
    attention, x = trained(SpatialTransformer(Place(2, 4, 4)), std=0.2), image(1, 4, 8, 12)
    p = arrays(attention)
    pooled = x[0].numpy().reshape(4, 4, 2, 4, 3).mean(axis=(2, 4))
    summary = convolve(pooled, p["summary.weight"], p["summary.bias"]).clip(min=0).ravel()
    hidden = (p["locate_hidden.weight"] @ summary + p["locate_hidden.bias"]).clip(min=0)
    out = p["locate_out.weight"] @ hidden + p["locate_out.bias"]
    centre, extent = attention.box(x)
    torch.testing.assert_close(centre[0], torch.from_numpy(np.tanh(out[:2])))
    torch.testing.assert_close(extent[0], torch.from_numpy(np.exp(2 * np.tanh(out[2:] / 2))))


def test_positions_are_precise_in_bfloat16():
    centre, extent = SpatialTransformer(Place(2, 4, 4)).bfloat16().box(torch.randn(1, 4, 8, 8).bfloat16())
    assert centre.dtype == extent.dtype == torch.float32
