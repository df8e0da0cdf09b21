import pytest
import torch

from attention_unet.attention.pairwise.deformable import DeformableAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve
from tests.reference.pairwise import gather_deformable


@pytest.mark.parametrize("grid", [(4, 5), (3, 2, 4), (1, 6)])
def test_equals_the_equation(grid):
    attention, x = trained(DeformableAttention(len(grid), 8)), image(1, 8, *grid)
    p, case = arrays(attention), x[0].numpy()
    value, offset, logit = (convolve(case, p[f"{n}.weight"], p[f"{n}.bias"]) for n in ("value", "offset", "logit"))
    gathered = gather_deformable(value, offset, logit, heads=4, points=4)
    expected = case + convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x).features[0], torch.from_numpy(expected))


def test_points_start_on_rays():
    attention, x = DeformableAttention(2, 8).double(), image(1, 8, 9, 9)
    positions, share = attention.look_at(x)
    middle = positions[:, :, :, 4, 4] - 4
    assert middle[0].tolist() == [[1, 0], [2, 0], [3, 0], [4, 0]]
    assert middle[1].tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    assert middle[2].tolist() == [[-1, 0], [-2, 0], [-3, 0], [-4, 0]]
    torch.testing.assert_close(share, torch.full_like(share, 0.25))


def test_received_map_counts_where_points_land():
    attention, x = DeformableAttention(2, 3).double(), image(1, 3, 4, 3)  # 4 does not divide 3: one head
    # The points of a voxel are one to four rows below it: no point is in the first row, and others leave the grid.
    weights = attention(x).weights[0, 0]
    assert weights.tolist() == [[0.0] * 3, [0.25] * 3, [0.5] * 3, [0.75] * 3]
