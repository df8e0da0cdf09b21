import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.axial import AxialAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve
from tests.reference.heads import gather, line_mates


@pytest.mark.parametrize("positions", ["none", "sine"])
@pytest.mark.parametrize("grid", [(4, 3), (2, 4, 3)])
def test_equals_the_equation(grid, positions):
    attention = trained(AxialAttention(Place(len(grid), 4, 4), heads=2, positions=positions))
    p, x = arrays(attention), image(2, 4, *grid)
    result = attention(x, with_map=True)
    waves = attention.positions.waves(x).numpy() if positions == "sine" else 0
    for case, features, weights in zip(x.numpy(), result.features, result.weights, strict=True):
        maps = []
        for axis in range(len(grid)):
            query, key = (
                convolve(case + waves, p[f"{n}.{axis}.weight"], p[f"{n}.{axis}.bias"]) for n in ("query", "key")
            )
            value = convolve(case, p[f"value.{axis}.weight"], p[f"value.{axis}.bias"])
            gathered, received = gather(query, key, value, 2, 2**-0.5, line_mates(grid, axis))
            case = case + convolve(gathered, p[f"project.{axis}.weight"], p[f"project.{axis}.bias"])
            maps.append(received)
        torch.testing.assert_close(features, torch.from_numpy(case))
        torch.testing.assert_close(weights[0], torch.from_numpy(np.mean(maps, axis=0)))


def test_four_heads_if_they_divide_the_channels():
    assert AxialAttention(Place(2, 8, 8)).heads == 4
    assert AxialAttention(Place(2, 6, 6)).heads == 2
