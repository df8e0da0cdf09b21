import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.paired import PairedAttention
from tests.attention.build import arrays, image, trained
from tests.reference import heads
from tests.reference.dense import convolve, voxels_of


@pytest.mark.parametrize(
    ("grid", "keys", "blocks"), [((4, 6), 64, (4, 6)), ((5, 6), 12, (3, 3)), ((2, 4, 3), 6, (1, 2, 2))]
)
def test_equals_the_equation(grid, keys, blocks):
    attention = trained(PairedAttention(Place(len(grid), 6, 6), heads=2, keys=keys))
    p, x = arrays(attention), image(2, 6, *grid)
    result = attention(x, with_map=True)
    hot = p["spatial_temperature"].ravel()
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        names = ("query", "key", "channel_value", "spatial_value")
        query, key, by_channel, by_voxel = (convolve(case, p[f"{n}.weight"], p[f"{n}.bias"]) for n in names)
        unit = query / np.sqrt((query**2).sum(axis=tuple(range(1, query.ndim)), keepdims=True))
        few_keys, few_values = heads.block_means(key, blocks), heads.block_means(by_voxel, blocks)
        heated = unit * np.repeat(hot, 3).reshape(-1, *[1] * len(grid))
        from_voxels, received = heads.gather(heated, few_keys, few_values, 2, 1.0, lambda q: [*voxels_of(blocks)])
        from_channels = heads.paired_channels(query, key, by_channel, p["channel_temperature"].ravel(), 2)
        expected = case + np.concatenate([
            convolve(from_voxels, p["spatial_project.weight"], p["spatial_project.bias"]),
            convolve(from_channels, p["channel_project.weight"], p["channel_project.bias"]),
        ])  # fmt: skip
        torch.testing.assert_close(features, torch.from_numpy(expected))
        share = received * received.size / (query.size / len(query))
        torch.testing.assert_close(weights[0], torch.from_numpy(share))


def test_defaults_are_the_published_ones():
    attention = PairedAttention(Place(3, 32, 32))
    assert (attention.heads, attention.keys) == (4, 64)
    assert (attention.channel_temperature == 1).all()
    assert (attention.spatial_temperature == 1).all()


def test_one_channel_is_refused():
    with pytest.raises(ValueError, match="paired needs at least 2 channels"):
        PairedAttention(Place(2, 1, 1))
