import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.polarized import PolarizedAttention
from tests.attention.build import arrays, image, trained
from tests.reference import mixed


@pytest.mark.parametrize("layout", ["parallel", "sequential"])
@pytest.mark.parametrize("init", ["open", "paper"])
@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid, init, layout):
    attention, x = trained(PolarizedAttention(Place(len(grid), 6, 6, init=init), layout=layout)), image(2, 6, *grid)
    p = arrays(attention)

    def layer(name):
        return p[f"{name}.weight"], p.get(f"{name}.bias")

    for case, weights in zip(x.numpy(), attention(x).weights, strict=True):
        by_channel = mixed.polarized_channel(
            case, layer("channel_query"), layer("channel_value"), layer("channel_project"), *layer("norm")
        ).reshape(-1, *[1] * len(grid))
        seen = case if layout == "parallel" else case * by_channel
        bias = p["bias"] if init == "open" else 0
        by_voxel = mixed.polarized_spatial(seen, layer("spatial_query"), layer("spatial_value"), bias)
        expected = by_channel + by_voxel if layout == "parallel" else by_channel * by_voxel
        torch.testing.assert_close(weights, torch.from_numpy(expected))


def test_queries_and_values_have_half_the_channels():
    attention = PolarizedAttention(Place(3, 64, 64))
    assert attention.channel_value.out_channels == attention.spatial_query.out_channels == 32
    assert attention.channel_query.out_channels == 1
