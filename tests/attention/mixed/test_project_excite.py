import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.project_excite import ProjectExcite
from tests.attention.build import arrays, image, trained
from tests.reference import mixed


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid):
    attention, x = trained(ProjectExcite(Place(len(grid), 6, 6))), image(2, 6, *grid)
    p = arrays(attention)
    for case, weights in zip(x.numpy(), attention(x).weights, strict=True):
        names = ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias")
        torch.testing.assert_close(weights, torch.from_numpy(mixed.project_excite(case, *(p[name] for name in names))))


def test_half_the_channels_as_published():
    assert ProjectExcite(Place(3, 64, 64, init="paper")).reduce.out_channels == 32
    assert ProjectExcite(Place(3, 64, 64), reduction=4).reduce.out_channels == 16
