import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.mixed.simam import SimAM
from tests.attention.build import image
from tests.reference import mixed


@pytest.mark.parametrize("smoothing", [1e-4, 0.5])
@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 2), (2, 1)])
def test_equals_the_energy_of_the_paper(grid, smoothing):
    x = image(2, 5, *grid)
    for case, weights in zip(x.numpy(), SimAM(Place(len(grid), 5, 5), smoothing=smoothing)(x).weights, strict=True):
        torch.testing.assert_close(weights, torch.from_numpy(mixed.simam(case, smoothing)))


def test_one_voxel_and_the_default():
    assert SimAM(Place(2, 5, 5)).smoothing == 1e-4
    weights = SimAM(Place(2, 5, 5))(image(1, 5, 1, 1)).weights
    torch.testing.assert_close(weights, torch.full_like(weights, torch.sigmoid(torch.tensor(0.5)).item()))
