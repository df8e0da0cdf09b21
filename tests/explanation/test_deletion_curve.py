import numpy as np
import pytest

from attention_unet.explanation.deletion_curve import (
    SHARES,
    delete_voxels,
    mean_height,
    random_blocks,
    rank_voxels,
    signed_distance,
)
from attention_unet.scans.volumes import volume_of_array

GRID = (6, 8, 4)


def test_the_highest_weights_go_first_and_ties_by_chance():
    weights, random = np.zeros(GRID), np.random.default_rng(0).random(GRID)
    weights[2, 3, 1], weights[4, 0, 0] = 2.0, 1.0
    order = rank_voxels(weights, random)
    assert [tuple(map(int, np.unravel_index(voxel, GRID))) for voxel in order[:2]] == [(2, 3, 1), (4, 0, 0)]
    assert (np.diff(random.ravel()[order[2:]]) > 0).all()
    assert sorted(order) == list(range(weights.size))


def test_blocks_of_the_voxels_of_a_level():
    found = random_blocks(GRID, (2, 3, 4), seed=0)
    assert found.shape == GRID
    assert len(np.unique(found)) == 3 * 3 * 1
    assert (found[2:4, 3:6] == found[2, 3, 0]).all()
    assert (random_blocks(GRID, (2, 3, 4), seed=0) == found).all()
    assert (random_blocks(GRID, (2, 3, 4), seed=1) != found).any()


def test_so_many_voxels_become_the_mean_of_their_channel():
    random = np.random.default_rng(0)
    volume = volume_of_array(random.random((2, *GRID)).astype(np.float32), np.eye(4))
    order = random.permutation(np.prod(GRID))
    less = delete_voxels(volume, order, 0.25)
    changed = less.array != volume.array
    for channel, own, which in zip(less.array, volume.array, changed, strict=True):
        assert sorted(np.flatnonzero(which)) == sorted(order[:48])
        assert channel[which] == pytest.approx(np.full(48, own.mean()))
    assert (delete_voxels(volume, order, 0).array == volume.array).all()


def test_area_is_the_mean_height():
    assert mean_height([0.5] * len(SHARES)) == pytest.approx(0.5)
    assert mean_height([1 - share for share in SHARES]) == pytest.approx(1 - SHARES[-1] / 2)


def test_nearness_is_depth_inside_and_distance_outside():
    label_map = np.zeros(GRID, dtype=np.uint8)
    label_map[2:5, 3:6] = 2
    distance = signed_distance(label_map, (1.0, 2.0, 3.0))
    assert distance[3, 4, 0] == 2.0  # to the nearest voxel outside
    assert distance[2, 3, 0] == 1.0
    assert distance[1, 3, 0] == -1.0
    assert distance[2, 1, 0] == -4.0
    assert (signed_distance(label_map * 0, (1, 1, 1)) == 0).all()
