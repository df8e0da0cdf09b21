import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from attention_unet.evaluation.metrics import compare_masks, dice, surface_distances
from tests.reference.surfaces import distances

SPACING = (1.0, 2.0, 0.5)


def box(grid, *bounds):
    mask = np.zeros(grid, dtype=bool)
    mask[tuple(slice(a, b) for a, b in bounds)] = True
    return mask


def random_masks(seed):
    random = np.random.RandomState(seed)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in (9, 8, 10)), indexing="ij"), axis=-1)
    return [np.linalg.norm(voxels - random.uniform(3, 6, 3), axis=-1) < random.uniform(2, 4) for _ in range(2)]


def test_hand_computed_shift_along_each_axis():
    reference = box((12, 12, 12), (3, 8), (3, 8), (3, 8))
    for axis, spacing in enumerate(SPACING):
        moved = np.roll(reference, 1, axis=axis)
        found = compare_masks(moved, reference, SPACING, tolerance_mm=0.4)
        assert found.dice == pytest.approx(0.8)
        assert found.hd95_mm == pytest.approx(spacing)
        assert found.volume_ml == pytest.approx(0.125)
        # Of the 98 surface voxels of the cube the leading face (25) lies outside the other cube and the inner 3 x 3 of
        # the trailing face inside it; the rest coincide with the other surface.
        assert found.nsd == pytest.approx(1 - (25 + 9) / 98)
        assert compare_masks(moved, reference, SPACING, tolerance_mm=2.0).nsd == 1


@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_those_of_every_voxel_to_every_other(seed):
    prediction, reference = random_masks(seed)
    ours, back = surface_distances(prediction, reference, SPACING)
    np.testing.assert_allclose(np.sort(ours), np.sort(distances(prediction, reference, SPACING)), atol=1e-12)
    np.testing.assert_allclose(np.sort(back), np.sort(distances(reference, prediction, SPACING)), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_monai(seed):
    prediction, reference = random_masks(seed)
    found = compare_masks(prediction, reference, SPACING, tolerance_mm=1.0)
    tensors = [torch.from_numpy(m)[None, None].float() for m in (prediction, reference)]
    options = {"include_background": True, "spacing": SPACING}
    assert found.hd95_mm == pytest.approx(
        float(compute_hausdorff_distance(*tensors, percentile=95, **options)), abs=1e-5
    )
    assert found.nsd == pytest.approx(float(compute_surface_dice(*tensors, [1.0], **options)), abs=1e-6)


def test_masks_at_the_border_have_a_surface_there():
    full = np.ones((3, 3, 3), dtype=bool)
    assert len(surface_distances(full, full, SPACING)[0]) == 26
    assert compare_masks(full, full, SPACING).hd95_mm == 0


def test_empty_masks():
    empty, some = np.zeros((4, 4, 4), dtype=bool), box((4, 4, 4), (1, 3), (1, 3), (1, 3))
    both = compare_masks(empty, empty, SPACING)
    assert all(math.isnan(v) for v in (both.dice, both.hd95_mm, both.assd_mm, both.nsd))
    assert both.volume_ml == 0
    for prediction, reference in ((empty, some), (some, empty)):
        one = compare_masks(prediction, reference, SPACING)
        assert (one.dice, one.nsd) == (0, 0)
        assert one.hd95_mm == one.assd_mm == math.inf
    assert math.isnan(dice(empty, empty))


def test_assd_is_the_mean_over_both_surfaces():
    a, b = box((9, 1, 1), (0, 2), (0, 1), (0, 1)), box((9, 1, 1), (4, 5), (0, 1), (0, 1))
    assert compare_masks(a, b, (2.0, 1.0, 1.0)).assd_mm == pytest.approx((8 + 6 + 6) / 3)
