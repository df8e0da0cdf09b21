import math

import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.positions import PositionEncoding
from attention_unet.attention.pairwise.scaled_dot_product import CrossAttention, NonLocalBlock, SelfAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, interpolate, voxels_of
from tests.reference.heads import gather


def waves(channels, grid):
    """Channel by channel the axes in turn: sine, cosine, sine of twice the angle, ..."""
    encoding = np.zeros((channels, *grid))
    for c, *voxel in voxels_of(encoding.shape):
        axis, number = c % len(grid), c // len(grid)
        angle = math.pi * 2 ** (number // 2) * (voxel[axis] + 0.5) / grid[axis]
        encoding[(c, *voxel)] = math.cos(angle) if number % 2 else math.sin(angle)
    return encoding


@pytest.mark.parametrize("grid", [(6, 4), (3, 5, 2)])
def test_positions_are_waves_or_a_learned_grid(grid):
    x = image(2, 7, *grid)
    torch.testing.assert_close(PositionEncoding(len(grid), 7, "none")(x), x)
    sine = PositionEncoding(len(grid), 7, "sine").double()(x)
    torch.testing.assert_close(sine - x, torch.from_numpy(waves(7, grid)).expand_as(x), atol=1e-6, rtol=0)
    learned = trained(PositionEncoding(len(grid), 7, "learned"))
    expected = torch.from_numpy(interpolate(learned.learned[0].detach().numpy(), grid))
    torch.testing.assert_close(learned(x), x + expected)


def test_no_two_voxels_have_the_same_wave():
    encoded = PositionEncoding(3, 12, "sine").waves(torch.zeros(1, 12, 9, 8, 7)).flatten(1)
    distances = torch.cdist(encoded.T, encoded.T) + 9 * torch.eye(9 * 8 * 7)
    assert distances.min() > 0.1


def test_waves_of_many_channels_are_finite_and_repeat():
    encoded = PositionEncoding(2, 512, "sine").waves(torch.zeros(1, 512, 6, 5))
    assert encoded.isfinite().all()
    assert torch.equal(encoded[:32], encoded[32:64])


def test_a_learned_grid_starts_small():
    assert PositionEncoding(3, 16, "learned").learned.shape == (1, 16, 8, 8, 8)
    assert PositionEncoding(3, 16, "learned").learned.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("positions", ["none", "sine", "learned"])
@pytest.mark.parametrize("mechanism", [SelfAttention, NonLocalBlock, CrossAttention])
def test_heads_and_positions_of_queries_and_keys(mechanism, positions):
    grid, coarse = (4, 3), (2, 3)
    attention = trained(mechanism(Place(2, 16, 6), heads=2, positions=positions))
    p, x, gate = arrays(attention), image(1, 16, *grid), image(1, 6, *coarse)
    source = gate if mechanism is CrossAttention else x

    def encoded(signal, side):
        values = signal[0].numpy()
        if positions == "sine":
            return values + waves(len(values), values.shape[1:])
        if positions == "learned":
            return values + interpolate(p[f"{side}_positions.learned"][0], values.shape[1:])
        return values

    query = convolve(encoded(x, "query"), p["query.weight"], p["query.bias"])
    key = convolve(encoded(source, "key"), p["key.weight"], p["key.bias"])
    value = convolve(source[0].numpy(), p["value.weight"], p["value.bias"])
    scale = (len(query) // 2) ** -0.5
    gathered, received = gather(query, key, value, 2, scale, lambda q: [*voxels_of(source.shape[2:])])
    gain = attention.gamma.item() if mechanism is SelfAttention else 1.0
    expected = x[0].numpy() + gain * convolve(gathered, p["project.weight"], p["project.bias"])
    result = attention(x, gate, True)
    torch.testing.assert_close(result.features[0], torch.from_numpy(expected), atol=1e-4, rtol=1e-4)
    share = torch.from_numpy(received * received.size / x[0, 0].numel())
    torch.testing.assert_close(result.weights[0, 0], share, atol=1e-4, rtol=1e-4)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="heads is 3: expected a divisor of the 8 channels that they share"):
        NonLocalBlock(Place(2, 16, 16), heads=3)


def test_scaled_is_an_option():
    assert NonLocalBlock(Place(2, 16, 16)).scale == 8**-0.5
    assert NonLocalBlock(Place(2, 16, 16), heads=2).scale == 0.5
    assert NonLocalBlock(Place(2, 16, 16), scaled=False).scale == 1


@pytest.mark.parametrize("positions", ["none", "sine", "learned"])
@pytest.mark.parametrize("mechanism", [SelfAttention, NonLocalBlock, CrossAttention])
def test_rows_of_all_voxels_give_the_received_map(mechanism, positions):
    attention = trained(mechanism(Place(2, 16, 6), heads=2, positions=positions))
    x, gate = image(2, 16, 4, 3), image(2, 6, 2, 3)
    rows = torch.stack([attention.row(x, gate, voxel) for voxel in voxels_of((4, 3))])
    torch.testing.assert_close(rows.flatten(2).sum(dim=2), torch.ones(12, 2, dtype=torch.float64))
    share = rows.mean(dim=0) * rows[0, 0].numel()
    torch.testing.assert_close(attention(x, gate, True).weights, share)
