import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.pooled_spatial import PooledSpatialAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, sigmoid


@pytest.mark.parametrize("dims", [2, 3])
def test_equals_the_equation(dims):
    attention, x = trained(PooledSpatialAttention(Place(dims, 1, 1))), image(1, 4, *(4, 5, 3)[:dims])
    pooled = np.stack([x[0].numpy().mean(axis=0), x[0].numpy().max(axis=0)])
    expected = sigmoid(convolve(pooled, *arrays(attention).values()))
    features, weights = attention(x)
    np.testing.assert_allclose(weights[0].detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(features[0].detach().numpy(), x[0].numpy() * expected, atol=1e-12)


def test_published_form_has_98_weights_and_starts_half_open():
    torch.manual_seed(0)
    attention = PooledSpatialAttention(Place(2, 1, 1, init="paper"))
    assert sum(p.numel() for p in attention.parameters()) == 98
    assert attention.conv.weight.std().item() == pytest.approx(98**-0.5, rel=0.2)  # He et al. for a sigmoid
    assert 0.3 < attention(torch.randn(1, 8, 16, 16)).weights.mean().item() < 0.7
