import itertools

import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.pooled_spatial import PooledSpatialAttention


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_equation(dims):
    torch.manual_seed(1)
    attention = PooledSpatialAttention(Place(dims, 1, 1)).double()
    torch.nn.init.normal_(attention.conv.weight)
    x = torch.randn(1, 4, *(4, 5, 3)[:dims], dtype=torch.float64)
    pooled = np.stack([x[0].numpy().mean(axis=0), x[0].numpy().max(axis=0)])
    weight, bias = attention.conv.weight.detach().numpy()[0], attention.conv.bias.item()
    half = [k // 2 for k in weight.shape[1:]]
    padded = np.pad(pooled, [(0, 0), *((h, h) for h in half)])
    expected = np.zeros(x.shape[2:])
    for voxel in itertools.product(*(range(n) for n in x.shape[2:])):
        box = padded[(slice(None), *(slice(v, v + k) for v, k in zip(voxel, weight.shape[1:], strict=True)))]
        expected[voxel] = 1 / (1 + np.exp(-(weight * box).sum() - bias))
    features, weights = attention(x)
    np.testing.assert_allclose(weights[0, 0].detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(features[0].detach().numpy(), x[0].numpy() * expected, atol=1e-12)


def test_published_form_has_98_weights_and_starts_half_open():
    torch.manual_seed(0)
    attention = PooledSpatialAttention(Place(2, 1, 1, init="paper"))
    assert sum(p.numel() for p in attention.parameters()) == 98
    assert attention.conv.weight.std().item() == pytest.approx(98**-0.5, rel=0.2)  # He et al. for a sigmoid
    assert 0.3 < attention(torch.randn(1, 8, 16, 16)).weights.mean().item() < 0.7
