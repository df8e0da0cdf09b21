import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.conv_spatial import ConvSpatialAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve, group_norm, sigmoid


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2)])
def test_equals_the_equation(grid):
    attention, x = trained(ConvSpatialAttention(Place(len(grid), 16, 16))), image(1, 16, *grid)
    p = arrays(attention)
    reduced = group_norm(convolve(x[0].numpy(), p["reduce.weight"]), p["norm.weight"], p["norm.bias"])
    expected = sigmoid(convolve(np.maximum(reduced, 0), p["conv.weight"], p["conv.bias"]))
    torch.testing.assert_close(attention(x).weights[0], torch.from_numpy(expected))
