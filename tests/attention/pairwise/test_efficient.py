import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.efficient import EfficientAttention
from tests.attention.build import arrays, image, trained
from tests.reference import heads
from tests.reference.dense import convolve


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("grid", [(4, 3), (2, 4, 3)])
def test_equals_the_equation(grid, count):
    attention, x = trained(EfficientAttention(Place(len(grid), 4, 4), heads=count)), image(2, 4, *grid)
    p, result = arrays(attention), attention(x, with_map=True)
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        parts = (convolve(case, p[f"{n}.weight"], p[f"{n}.bias"]) for n in ("query", "key", "value"))
        gathered, mean_map = heads.efficient(*parts, count)
        expected = case + convolve(gathered, p["project.weight"], p["project.bias"])
        torch.testing.assert_close(features, torch.from_numpy(expected))
        torch.testing.assert_close(weights[0], torch.from_numpy(mean_map * mean_map.size))


def test_one_head_as_published():
    assert EfficientAttention(Place(2, 6, 6)).heads == 1
    assert EfficientAttention(Place(2, 6, 6), heads=4).heads == 2
