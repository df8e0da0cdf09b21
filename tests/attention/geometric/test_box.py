import numpy as np
import pytest
import torch

from attention_unet.attention.geometric.box import cut_out, put_back, squared_distance
from tests.attention.build import image
from tests.reference import geometric

CENTRE, EXTENT = np.array([0.3, -0.2, 0.1]), np.array([0.5, 1.3, 0.8])


@pytest.mark.parametrize(("grid", "size"), [((5, 4), (3, 6)), ((5, 4, 3), (2, 3, 4))])
@pytest.mark.parametrize("way", ["cut_out", "put_back"])
def test_equals_the_definition(way, grid, size):
    x, dims = image(1, 2, *grid), len(grid)
    expected = getattr(geometric, way)(x[0].numpy(), CENTRE[:dims], EXTENT[:dims], size)
    place = torch.from_numpy(CENTRE[None, :dims]), torch.from_numpy(EXTENT[None, :dims])
    found = {"cut_out": cut_out, "put_back": put_back}[way](x, *place, size)
    torch.testing.assert_close(found[0], torch.from_numpy(expected))


def test_the_whole_grid_is_the_identity():
    x = image(2, 3, 4, 5, 6)
    nothing, all_of_it = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    torch.testing.assert_close(cut_out(x, nothing, all_of_it, x.shape[2:]), x)
    torch.testing.assert_close(put_back(x, nothing, all_of_it, x.shape[2:]), x)


def test_what_was_cut_goes_back_to_its_place():
    x = torch.zeros(1, 1, 16, 12, dtype=torch.float64)
    x[..., 4:8, 6:9] = 1
    # The box of rows 4 to 7 and columns 6 to 8, cut at its own voxels.
    centre, extent = torch.tensor([[(6 - 8) / 8, (7.5 - 6) / 6]]).double(), torch.tensor([[4 / 16, 3 / 12]]).double()
    cut = cut_out(x, centre, extent, (4, 3))
    torch.testing.assert_close(cut, torch.ones_like(cut))
    torch.testing.assert_close(put_back(cut, centre, extent, (16, 12))[..., 4:8, 6:9], cut)


def test_distance_is_in_units_of_the_extent():
    centre, extent = torch.tensor([[0.0, 0.5]]).double(), torch.tensor([[0.5, 0.25]]).double()
    squared = squared_distance(centre, extent, (2, 4))
    # Voxel (0, 3) lies at (-0.5, 0.75): one extent away along each axis.
    torch.testing.assert_close(squared[0, 0, 3], torch.tensor(2.0).double())
    # Voxel (0, 0) lies at (-0.5, -0.75): five extents away along the second axis.
    torch.testing.assert_close(squared[0, 0, 0], torch.tensor(26.0).double())


def test_mixed_precision_moves_nothing():
    x, centre, extent = torch.rand(1, 1, 100, 160), torch.tensor([[0.1, -0.2]]), torch.tensor([[0.7, 0.9]])
    exact = put_back(cut_out(x, centre, extent, (100, 160)), centre, extent, (100, 160))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = put_back(cut_out(x, centre, extent, (100, 160)), centre, extent, (100, 160))
    torch.testing.assert_close(mixed, exact)
