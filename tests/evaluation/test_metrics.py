import itertools
import math
from dataclasses import asdict, fields

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)
from scipy import ndimage

from attention_unet.evaluation.metrics import METRICS, CaseMetrics, compare_masks, dice
from attention_unet.evaluation.score import score_case
from attention_unet.evaluation.surface import surface_distances
from attention_unet.scans.labels import Labels
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


def test_every_metric_is_in_the_table():
    assert list(METRICS) == [field.name for field in fields(CaseMetrics)]


def test_hand_computed_shift_along_each_axis():
    reference = box((12, 12, 12), (3, 8), (3, 8), (3, 8))
    for axis, spacing in enumerate(SPACING):
        moved = np.roll(reference, 1, axis=axis)
        found = compare_masks(moved, reference, SPACING, tolerance_mm=0.4)
        assert found.dice == pytest.approx(0.8)
        assert found.hd95_mm == pytest.approx(spacing)
        assert found.volume_ml == pytest.approx(0.125)
        # The cube has 98 surface voxels. The leading face (25) is outside the other cube, the inner 3 x 3 of the
        # trailing face is inside it, and the rest coincide with the other surface.
        assert found.nsd == pytest.approx(1 - (25 + 9) / 98)
        assert compare_masks(moved, reference, SPACING, tolerance_mm=2.0).nsd == 1


@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_those_of_every_voxel_to_every_other(seed):
    prediction, reference = random_masks(seed)
    ours, back = surface_distances(prediction, reference, SPACING)
    np.testing.assert_allclose(np.sort(ours), np.sort(distances(prediction, reference, SPACING)), atol=1e-12)
    np.testing.assert_allclose(np.sort(back), np.sort(distances(reference, prediction, SPACING)), atol=1e-12)


def check_by_scipy(prediction, reference, spacing_mm):
    """Compare with distance transforms of the whole grid, surfaces by erosion, and metrics by their definitions."""
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, reference)]
    transforms = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    there, back = transforms[1][surfaces[0]], transforms[0][surfaces[1]]
    both = np.concatenate([there, back])
    voxel_ml = np.prod(spacing_mm) / 1000
    overlap = (prediction & reference).sum()
    expected = {
        "dice": 2 * overlap / (prediction.sum() + reference.sum()),
        "iou": overlap / (prediction | reference).sum(),
        "sensitivity": overlap / reference.sum(),
        "precision": overlap / prediction.sum(),
        "hd95_mm": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd_mm": both.mean(),
        "nsd": (both <= 1.0).mean(),
        "volume_ml": prediction.sum() * voxel_ml,
        "reference_volume_ml": reference.sum() * voxel_ml,
        "volume_error": prediction.sum() / reference.sum() - 1,
    }
    assert asdict(compare_masks(prediction, reference, spacing_mm, tolerance_mm=1.0)) == pytest.approx(expected)


def check_by_monai(prediction, reference, spacing_mm):
    """Compare with the metrics of MONAI that have the same meaning; MONAI uses single precision."""
    found = compare_masks(prediction, reference, spacing_mm, tolerance_mm=1.0)
    tensors = [torch.from_numpy(m)[None, None].float() for m in (prediction, reference)]
    options = {"include_background": True, "spacing": spacing_mm}
    true_positive, false_positive, _, false_negative = get_confusion_matrix(*tensors).flatten().tolist()
    ours_and_theirs = [
        (found.dice, compute_dice(*tensors)),
        (found.iou, compute_iou(*tensors)),
        (found.hd95_mm, compute_hausdorff_distance(*tensors, percentile=95, **options)),
        (found.assd_mm, compute_average_surface_distance(*tensors, symmetric=True, **options)),
        (found.nsd, compute_surface_dice(*tensors, [1.0], **options)),
        (found.sensitivity, true_positive / (true_positive + false_negative)),
        (found.precision, true_positive / (true_positive + false_positive)),
    ]
    for ours, theirs in ours_and_theirs:
        assert ours == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("check", [check_by_scipy, check_by_monai])
def test_agrees_with_others(seed, check):
    check(*random_masks(seed), SPACING)


@pytest.mark.parametrize("check", [check_by_scipy, check_by_monai])
def test_agrees_with_others_on_real_masks(real_data, check):
    """The hippocampus of one patient against that of the next, and its two parts against each other."""
    files = sorted((real_data / "Task04_Hippocampus" / "labelsTr").glob("*.nii.gz"))[:3]
    label_maps = [np.asarray(nib.load(file).dataobj)[:30, :45, :30] for file in files]
    for one, other in itertools.pairwise(label_maps):
        check(one > 0, other > 0, SPACING)
    check(label_maps[0] == 1, label_maps[0] == 2, SPACING)


def test_masks_at_the_border_have_a_surface_there():
    full = np.ones((3, 3, 3), dtype=bool)
    assert len(surface_distances(full, full, SPACING)[0]) == 26
    assert compare_masks(full, full, SPACING).hd95_mm == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_surface_of_a_structure_in_a_single_slice_is_its_contour(axis):
    radius = np.hypot(*np.mgrid[-30:31, -30:31])
    small, large = (np.expand_dims(radius <= voxels, axis) for voxels in (20, 25))
    found = compare_masks(small, large, (1.0, 1.0, 1.0))
    assert found.hd95_mm == pytest.approx(5, abs=0.5)
    assert found.assd_mm == pytest.approx(5, abs=0.3)
    assert found.nsd == 0
    volumes = [np.concatenate([np.zeros_like(mask), mask], axis) for mask in (small, large)]
    assert compare_masks(*volumes, (1.0, 1.0, 1.0)).assd_mm < 1  # in a volume, every voxel of one slice is surface
    of_volume = score_case("x", *map(np.uint8, volumes), Labels({"a": (1,)}, (1,)), (1.0, 1.0, 1.0), 1.0)
    assert of_volume[0].metrics == compare_masks(*volumes, (1.0, 1.0, 1.0))
    voxel = np.ones((1, 1, 1), dtype=bool)
    assert compare_masks(voxel, voxel, (1.0, 1.0, 1.0)).nsd == 1


def test_empty_masks():
    empty, some = np.zeros((4, 4, 4), dtype=bool), box((4, 4, 4), (1, 3), (1, 3), (1, 3))
    both = compare_masks(empty, empty, SPACING)
    assert (both.volume_ml, both.reference_volume_ml) == (0, 0)
    assert all(math.isnan(value) for metric, value in asdict(both).items() if "volume_ml" not in metric)
    for prediction, reference in ((empty, some), (some, empty)):
        one = compare_masks(prediction, reference, SPACING)
        assert (one.dice, one.iou, one.nsd) == (0, 0, 0)
        assert math.isnan(one.precision if prediction is empty else one.sensitivity)
        assert (one.sensitivity if prediction is empty else one.precision) == 0
        assert one.hd95_mm == one.assd_mm == math.inf
    assert math.isnan(dice(empty, empty))


@pytest.mark.parametrize("spacing_mm", [1.0, 1.00000002, 1.00001])
def test_surfaces_a_voxel_apart_lie_within_a_tolerance_of_that_voxel(spacing_mm):
    reference = np.zeros((8, 8, 8), dtype=bool)
    reference[2:5, 2:5, 2:5] = True
    found = compare_masks(np.roll(reference, 1, axis=0), reference, (spacing_mm,) * 3, tolerance_mm=1.0)
    assert found.nsd == 1


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32])
def test_masks_of_numbers_are_measured_as_masks_of_bool(kind):
    random = np.random.RandomState(0)
    prediction, reference = (random.rand(9, 8, 7) > 0.6 for _ in range(2))
    expected = compare_masks(prediction, reference, SPACING)
    assert compare_masks(prediction.astype(kind), reference.astype(kind), SPACING) == expected
    assert compare_masks(prediction.astype(kind), reference, np.array(SPACING)) == expected


@pytest.mark.parametrize(
    ("prediction", "spacing_mm", "tolerance_mm", "error", "message"),
    [
        (np.full((4, 4, 4), 2), (1, 1, 1), 1, ValueError, "prediction has other values than 0 and 1"),
        (np.full((4, 4, 4), np.nan), (1, 1, 1), 1, ValueError, "other values than 0 and 1"),
        (np.ones((4, 4, 5)), (1, 1, 1), 1, ValueError, r"the grid \(4, 4, 5\), reference \(4, 4, 4\)"),
        (np.ones((4, 4)), (1, 1, 1), 1, ValueError, "has 2 axes"),
        (np.ma.masked_array(np.ones((4, 4, 4))), (1, 1, 1), 1, TypeError, "of type MaskedArray"),
        ([[[1]]], (1, 1, 1), 1, TypeError, "of type list"),
        (np.ones((4, 4, 4)), (1, 0, 1), 1, ValueError, "spacing_mm is .*: expected three numbers above 0"),
        (np.ones((4, 4, 4)), (1, 1), 1, ValueError, "expected three numbers above 0"),
        (np.ones((4, 4, 4)), (1, 1, np.nan), 1, ValueError, "expected three numbers above 0"),
        (np.ones((4, 4, 4)), (1, 1, 1), -1, ValueError, "tolerance_mm is -1: expected 0 or more"),
        (np.ones((4, 4, 4)), (1, 1, 1), np.nan, ValueError, "tolerance_mm is nan"),
    ],
)
def test_what_cannot_be_measured_is_refused(prediction, spacing_mm, tolerance_mm, error, message):
    with pytest.raises(error, match=message):
        compare_masks(prediction, np.ones((4, 4, 4), dtype=bool), spacing_mm, tolerance_mm)
