import pytest
import torch

from attention_unet.attention import build
from attention_unet.attention.base import Place
from attention_unet.attention.mixed.mask_branch import MaskBranch
from tests.attention.build import arrays, image, trained
from tests.reference.mask_branch import mask


def test_residual_mask_is_one_plus_the_mask():
    attention, x = trained(build("residual_mask", dims=2, channels=8)), image(1, 8, 9, 7)
    mask = attention.inner(x).weights
    features, weights = attention(x)
    torch.testing.assert_close(features, (1 + mask) * x)
    torch.testing.assert_close(weights, 1 + mask)


@pytest.mark.parametrize("grid", [(9, 6), (5, 4, 3)])
def test_equals_the_hourglass_layer_by_layer(grid):
    attention, x = trained(MaskBranch(Place(len(grid), 8, 8))), image(1, 8, *grid)
    expected = torch.from_numpy(mask(x[0].numpy(), arrays(attention)))
    torch.testing.assert_close(attention(x).weights[0], expected)


def test_a_closed_mask_leaves_the_skip():
    attention, x = trained(build("residual_mask", dims=3, channels=8)), image(1, 8, 4, 4, 4)
    torch.nn.init.zeros_(attention.inner.project[-1].weight)
    torch.nn.init.constant_(attention.inner.project[-1].bias, -60.0)
    torch.testing.assert_close(attention(x).features, x)
