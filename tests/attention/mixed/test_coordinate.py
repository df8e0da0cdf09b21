import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.coordinate import CoordinateAttention
from tests.attention.build import arrays, image, trained
from tests.reference import mixed


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid):
    attention, x = trained(CoordinateAttention(Place(len(grid), 6, 6))), image(2, 6, *grid)
    p = arrays(attention)
    expand = [(p[f"expand.{axis}.weight"], p[f"expand.{axis}.bias"]) for axis in range(len(grid))]
    for case, weights in zip(x.numpy(), attention(x).weights, strict=True):
        names = ("reduce.weight", "reduce.bias", "norm.weight", "norm.bias")
        expected = mixed.coordinate(case, *(p[name] for name in names), expand)
        torch.testing.assert_close(weights, torch.from_numpy(expected))


def test_width_is_that_of_the_authors():
    assert CoordinateAttention(Place(2, 512, 512)).reduce.out_channels == 16
    assert CoordinateAttention(Place(2, 64, 64)).reduce.out_channels == 8
    assert CoordinateAttention(Place(2, 64, 64), reduction=4).reduce.out_channels == 16
