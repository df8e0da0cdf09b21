import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.external import ExternalAttention
from tests.attention.build import arrays, image, trained
from tests.reference import heads
from tests.reference.dense import convolve


@pytest.mark.parametrize("grid", [(4, 3), (2, 4, 3)])
def test_equals_the_equation(grid):
    attention, x = trained(ExternalAttention(Place(len(grid), 4, 4), slots=5)), image(2, 4, *grid)
    p, result = arrays(attention), attention(x, with_map=True)
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        gathered, mean_map = heads.external(convolve(case, p["query.weight"]), p["keys"], p["values"])
        expected = case + convolve(gathered, p["project.weight"], p["project.bias"])
        torch.testing.assert_close(features, torch.from_numpy(expected), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(weights[0], torch.from_numpy(mean_map * mean_map.size))


def test_the_memory_has_64_slots_of_unit_products():
    attention = ExternalAttention(Place(2, 64, 64))
    assert attention.keys.shape == attention.values.shape == (64, 64)
    assert attention.keys.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert ExternalAttention(Place(2, 4, 4), slots=256).values.std().item() == pytest.approx(1 / 16, rel=0.1)
