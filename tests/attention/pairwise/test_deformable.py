import numpy as np
import pytest
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.pairwise.deformable import DeformableAttention
from tests.attention.build import arrays, image, trained
from tests.reference.dense import convolve
from tests.reference.pairwise import gather_deformable


@pytest.mark.parametrize("grid", [(4, 5), (3, 2, 4), (1, 6)])
def test_equals_the_equation(grid):
    attention, x = trained(DeformableAttention(Place(len(grid), 8, 8))), image(1, 8, *grid)
    p, case = arrays(attention), x[0].numpy()
    value, offset, logit = (convolve(case, p[f"{n}.weight"], p[f"{n}.bias"]) for n in ("value", "offset", "logit"))
    gathered = gather_deformable(value, offset, logit, heads=4, points=4)
    expected = case + convolve(gathered, p["project.weight"], p["project.bias"])
    torch.testing.assert_close(attention(x).features[0], torch.from_numpy(expected))


def test_points_start_on_rays():
    attention, x = DeformableAttention(Place(2, 8, 8)).double(), image(1, 8, 9, 9)
    positions, share = attention.look_at(x)
    middle = positions[:, :, :, 4, 4] - 4
    assert middle[0].tolist() == [[1, 0], [2, 0], [3, 0], [4, 0]]
    assert middle[1].tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    assert middle[2].tolist() == [[-1, 0], [-2, 0], [-3, 0], [-4, 0]]
    torch.testing.assert_close(share, torch.full_like(share, 0.25))


def test_received_map_counts_where_points_land():
    attention, x = DeformableAttention(Place(2, 3, 3)).double(), image(1, 3, 4, 3)  # 4 does not divide 3: one head
    # The points of a voxel are one to four rows below it: no point is in the first row, and others leave the grid.
    weights = attention(x, with_map=True).weights[0, 0]
    assert weights.tolist() == [[0.0] * 3, [0.25] * 3, [0.5] * 3, [0.75] * 3]


def test_received_map_of_several_images_and_heads():
    attention, x = trained(DeformableAttention(Place(2, 8, 8), heads=2, points=3)), image(2, 8, 5, 4)
    positions, share = (values.detach().numpy() for values in attention.look_at(x))
    expected = np.zeros((2, 1, 5, 4))
    for image_and_head, point, i, j in np.ndindex(*share.shape):
        a, b = np.rint(positions[image_and_head, point, :, i, j]).astype(int)
        if a in range(5) and b in range(4):
            expected[image_and_head // 2, 0, a, b] += share[image_and_head, point, i, j] / 2
    torch.testing.assert_close(attention(x, with_map=True).weights, torch.from_numpy(expected), atol=1e-6, rtol=1e-6)


def test_positions_are_precise_in_bfloat16():
    """Eight bits do not tell voxel 257 from 258."""
    attention = DeformableAttention(Place(2, 8, 8)).bfloat16()
    positions, _ = attention.look_at(torch.zeros(1, 8, 300, 1, dtype=torch.bfloat16))
    assert positions.dtype == torch.float32
    assert positions[0, 0, 0, 257, 0] == 258


def test_rays_in_three_dimensions():
    positions, _ = DeformableAttention(Place(3, 12, 12), heads=6, points=2).double().look_at(image(1, 12, 5, 5, 5))
    middle = positions[:, :, :, 2, 2, 2] - 2
    forward, backward = (sign * torch.eye(3, dtype=torch.float64) for sign in (1, -1))
    torch.testing.assert_close(middle[:, 0], torch.cat([forward, backward]))
    torch.testing.assert_close(middle[:, 1], 2 * torch.cat([forward, backward]))
