import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.channel.second_order import SecondOrderPooling
from tests.attention.build import arrays, image, trained
from tests.reference import channel


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid):
    attention, x = trained(SecondOrderPooling(Place(len(grid), 4, 4))), image(2, 4, *grid)
    p = arrays(attention)
    for case, own, weights in zip(x.numpy(), attention.covariance(x), attention(x).weights.flatten(1), strict=True):
        sigma = channel.covariance(case, p["reduce.weight"], p["reduce.bias"], p["norm.weight"], p["norm.bias"])
        torch.testing.assert_close(own, torch.from_numpy(sigma))
        expected = channel.second_order(
            sigma,
            *(p[f"row_norm.{name}"] for name in ("weight", "bias")),
            *(p[f"rows.{name}"] for name in ("weight", "bias")),
            *(p[f"expand.{name}"] for name in ("weight", "bias")),
        )
        torch.testing.assert_close(weights, torch.from_numpy(expected))


def test_width_is_bounded():
    assert SecondOrderPooling(Place(2, 256, 256)).reduce.out_channels == 128
    assert SecondOrderPooling(Place(3, 256, 256)).reduce.out_channels == 64
    assert SecondOrderPooling(Place(3, 16, 16)).reduce.out_channels == 16
