import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from attention_unet.config import AugmentationConfig
from attention_unet.preparation import patches as module
from attention_unet.preparation.cache import CachedCase, annotated_locations, class_locations
from attention_unet.preparation.patches import box_start, cut_box, patch_numbers
from tests.preparation.build import ALL, LABELS, cached, load_patch, patch_dataset

NONE = AugmentationConfig(affine=0, noise=0, blur=0, bias_field=0, brightness=0, contrast=0, gamma=0, low_resolution=0)


def test_a_patch_follows_from_seed_and_number_alone():
    cases = [cached(i) for i in range(3)]
    first, second = patch_dataset(cases), patch_dataset(cases)
    forward = [load_patch(first, n) for n in range(12)]
    backward = [load_patch(second, n) for n in reversed(range(12))][::-1]
    for (image, target), (again, target_again) in zip(forward, backward, strict=True):
        assert torch.equal(image, again)
        assert torch.equal(target, target_again)
    assert not torch.equal(forward[0][0], load_patch(patch_dataset(cases, seed=1), 0)[0])
    assert not torch.equal(forward[0][0], forward[3][0])


def test_processes_share_each_step():
    numbers = [iter(patch_numbers(5, 6, process, 3)) for process in range(3)]
    assert [next(n) for n in numbers] == [[30, 31], [32, 33], [34, 35]]
    assert [next(n) for n in numbers] == [[36, 37], [38, 39], [40, 41]]


def test_foreground_share_and_classes_at_equal_odds():
    patches = patch_dataset([cached(0)], share=1.0, augmentation=NONE, patch=(6, 6, 6))
    found = np.array([[bool((patches[n].target == c).any()) for c in (1, 2)] for n in range(60)])
    assert found.any(axis=1).all()
    assert 0.25 < found[:, 0].mean() < 0.75
    anywhere = patch_dataset([cached(0)], share=0.0, augmentation=NONE, patch=(6, 6, 6))
    assert np.mean([bool((anywhere[n].target > 0).any()) for n in range(60)]) < 0.7


def test_many_patches_are_near_the_structures_if_a_margin_says_so():
    grid = (60, 50, 40)
    target = np.zeros((1, *grid), dtype=np.uint8)
    target[0, 30:36, 2:5, 20:30] = 1
    image = np.indices(grid).astype(np.float32)  # each voxel tells its place
    case = CachedCase("case", image, target, class_locations(target, LABELS))
    patches = patch_dataset([case], (8, 8, 8), share=0.0, augmentation=NONE, margin=(4, 6, 2))
    starts = np.array([patches[n].image[:, 0, 0, 0].numpy() for n in range(400)])
    stops = starts + 8
    inside = ((starts >= (26, 0, 18)) & (stops <= (40, 11, 32))).all(axis=1)
    assert 0.35 < inside.mean() < 0.5  # some of those from anywhere are there, too
    assert (starts[inside].min(axis=0) == (26, 0, 18)).all()
    assert (stops[inside].max(axis=0) == (40, 11, 32)).all()
    assert (starts[~inside].max(axis=0) > 30).all()
    large = patch_dataset([case], (16, 20, 8), share=0.0, augmentation=NONE, margin=(4, 6, 2))
    starts = np.array([large[n].image[:, 0, 0, 0].numpy() for n in range(200)])
    holding = starts[(starts[:, 0] >= 24) & (starts[:, 0] <= 26) & (starts[:, 1] == 0)]
    assert len(holding) > 70
    assert set(holding[:, 0]) == {24, 25, 26}  # all of the part, anywhere in the patch


def test_cases_that_were_seen_often_are_changed_more_often(monkeypatch):
    """A patch has half of a case, so that 2 x 2 x 200 patches show each voxel 200 times."""
    monkeypatch.setattr(module, "FULL_AFTER", 200)
    changes = dataclasses.replace(NONE, affine=0.8, noise=0.8)
    patches = patch_dataset([cached(i, grid=(8, 16, 6), empty=True) for i in range(2)], augmentation=changes)

    def frequency(first):
        changed = [(patches[n].transform.resampled, patches[n].change.noise.any()) for n in range(first, first + 200)]
        return np.mean(changed, axis=0)

    np.testing.assert_allclose(frequency(0), 0.8 / 8, atol=0.1)  # the mean of a quarter of the way
    np.testing.assert_allclose(frequency(600), 0.8 * 7 / 8, atol=0.1)
    np.testing.assert_allclose(frequency(5000), 0.8, atol=0.1)


def test_an_empty_label_never_fails():
    image, target = load_patch(patch_dataset([cached(0, empty=True)], share=1.0), 0)
    assert image.shape == (1, 8, 8, 8)
    assert int(target.max()) == 0


def test_a_patch_larger_than_the_volume_is_padded_evenly_with_zero():
    case = cached(0, grid=(5, 6, 7), empty=True)
    image, target = load_patch(patch_dataset([case], patch=(8, 8, 8), augmentation=NONE), 0)
    np.testing.assert_array_equal(image[0, 1:6, 1:7, 0:7], case.image[0])
    assert float(image.abs().sum()) == pytest.approx(float(np.abs(case.image).sum()), rel=1e-5)
    assert target.shape == (1, 8, 8, 8)


def test_slices_for_2d_networks_lose_their_axis():
    case = cached(0)
    image, target = load_patch(patch_dataset([case], patch=(8, 1, 8), slice_axis=1, augmentation=ALL), 3)
    assert image.shape == (1, 8, 8)
    assert target.shape == (1, 8, 8)
    assert image.dtype == torch.float32
    assert target.dtype == torch.uint8


def test_image_and_target_are_moved_together():
    grid = (24, 24, 24)
    target = np.zeros((1, *grid), dtype=np.uint8)
    target[0, 8:17, 9:15, 6:18] = 1
    case = CachedCase("a", target.astype(np.float32), target, class_locations(target, LABELS))
    moving = AugmentationConfig(**{**vars(NONE), "affine": 1.0, "rotation_degrees": 30.0, "flip_axes": ["back-front"]})
    for n in range(5):
        image, moved = load_patch(patch_dataset([case], patch=(16, 16, 16), share=1.0, augmentation=moving), n)
        both = ((image[0] > 0.5) == (moved[0] > 0)).float().mean()
        assert float(both) > 0.97
        assert int(moved.sum()) > 50


def test_what_is_cut_for_a_change_does_not_show():
    """Only the part of a case that a rotated patch samples is read. The whole case gives the same patch."""
    case = cached(0, grid=(13, 9, 16), empty=True)
    turning = AugmentationConfig(**{**vars(NONE), "affine": 1.0, "rotation_degrees": 45.0})
    patches = patch_dataset([case], patch=(16, 16, 16), augmentation=turning)
    whole = torch.zeros(1, 60, 60, 60)
    whole[:, 23:36, 25:34, 22:38] = torch.from_numpy(case.image)  # the patch is in the middle, voxels 22 to 38
    for n in range(6):
        transformed, _ = patches.augmentation.transform_patch(whole, whole.long(), patches[n].transform)
        torch.testing.assert_close(load_patch(patches, n)[0], transformed, atol=1e-4, rtol=0)


def test_a_patch_shows_the_place_that_was_drawn():
    """A transform of zero strength gives the untransformed patch."""
    case = cached(0)
    nothing = {"affine": 1.0, "rotation_degrees": 0.0, "scale": [1, 1], "shift": 0, "bend": 0}
    still = AugmentationConfig(**{**vars(NONE), **nothing})
    for n in range(6):
        moved, plain = (
            load_patch(patch_dataset([case], augmentation=still), n),
            load_patch(patch_dataset([case], augmentation=NONE), n),
        )
        torch.testing.assert_close(moved[0], plain[0], atol=1e-5, rtol=0)
        assert torch.equal(moved[1], plain[1])


def test_a_patch_larger_than_its_case_shows_it_shifted():
    only = {"affine": 1.0, "rotation_degrees": 0.0, "scale": [1, 1], "shift": 4, "bend": 0}
    config = AugmentationConfig(**{**vars(NONE), **only})
    patches = patch_dataset([cached(0)], patch=(32, 36, 30), augmentation=config)
    middles = np.array([ndimage.center_of_mass(load_patch(patches, n)[0][0].abs().numpy()) for n in range(12)])
    assert np.all(np.ptp(middles, axis=0) > 4)


def test_boxes():
    assert box_start([0, 10, 19], (8, 8, 8), (20, 20, 20)) == [0, 6, 12]
    assert box_start([3], (8,), (5,)) == [-1]
    np.testing.assert_array_equal(cut_box(np.arange(1, 6)[None], [-1], [8]), [[0, 1, 2, 3, 4, 5, 0, 0]])
    np.testing.assert_array_equal(cut_box(np.arange(1, 6)[None], [3], [2]), [[4, 5]])


def test_patches_are_where_voxels_are_annotated():
    target = np.full((1, 20, 24, 18), 255, dtype=np.uint8)
    target[0, :, 11] = 0
    target[0, 4:6, 11, 4:6] = 1
    case = CachedCase(
        "a", target.astype(np.float32), target, class_locations(target, LABELS), annotated_locations(target)
    )
    assert len(case.annotated_voxels) == 20 * 18
    for share in (0.0, 1.0):
        patches = patch_dataset([case], patch=(4, 4, 4), share=share, augmentation=NONE)
        shown = [patches[n].target for n in range(60)]
        assert all((target != 255).any() for target in shown)
        assert all((target == 1).any() for target in shown) == bool(share)
    assert len(annotated_locations(np.zeros((1, 4, 4, 4), np.uint8))) == 0


MOVING = AugmentationConfig(**{**vars(NONE), "affine": 1.0, "rotation_degrees": 30.0, "flip_axes": ["back-front"]})


def ignoring_patches(target):
    """Return patches of a case whose image is 1 where the target is known."""
    case = CachedCase("a", (target != 255).astype(np.float32), target, class_locations(target, LABELS))
    patches = patch_dataset([case], patch=(16, 16, 16), share=1.0, augmentation=MOVING)
    patches.plan = dataclasses.replace(patches.plan, labels=dataclasses.replace(LABELS, ignore=3))
    patches.augmentation.labels = patches.plan.labels
    return [load_patch(patches, n) for n in range(5)]


def test_ignored_voxels_move_with_the_image():
    target = np.zeros((1, 24, 24, 24), dtype=np.uint8)
    target[0, 8:17, 9:15, 6:18] = 1
    target[0, :, :, 12:] = 255
    for image, moved in ignoring_patches(target):
        assert ((image[0] > 0.5) == (moved[0] != 255)).float().mean() > 0.98  # not at corners
        assert set(moved.unique().tolist()) <= {0, 1, 255}


def test_annotated_slices_keep_their_thickness():
    target = np.full((1, 24, 24, 24), 255, dtype=np.uint8)
    target[0, :, :, 12] = 0
    target[0, 8:17, 9:15, 12] = 1
    for image, moved in ignoring_patches(target):
        known, structure = moved[0] != 255, moved[0] == 1
        assert known.sum() == pytest.approx(float(image.sum()), rel=0.08)
        assert 0.5 * 9 * 6 < structure.sum() < 2 * 9 * 6
        assert (image[0][known] > 0.3).all()


def synthetic(share, patch=(8, 8, 8)):
    random = np.random.RandomState(0)
    target = np.zeros((1, 20, 24, 18), dtype=np.uint8)
    target[0, 5:15, 8:16, 6:12] = 1
    image = (random.normal(size=target.shape) + 100).astype(np.float32)
    regions = target + np.uint8(1)
    case = CachedCase(
        "a", image, target, class_locations(target, LABELS), regions=regions, region_counts=np.bincount(regions.ravel())
    )
    return patch_dataset([case], patch, augmentation=dataclasses.replace(NONE, synthesize=share))


def test_a_share_of_the_patches_is_drawn_from_the_label_map():
    def drawn(patches):
        return np.array([float(patches[n].image.mean()) < 50 for n in range(200)])

    assert not drawn(synthetic(0.0)).any()
    assert drawn(synthetic(1.0)).all()
    assert 0.3 < drawn(synthetic(0.4)).mean() < 0.5
    first, again = synthetic(0.4), synthetic(0.4)
    for n in (0, 1, 2):
        assert torch.equal(first[n].image, again[n].image)


def test_synthetic_images_are_empty_outside_of_the_case():
    """As real patches are, and windows of predictions."""
    assert int((synthetic(1.0, (32, 32, 32))[0].image == 0).sum()) == 32**3 - 20 * 24 * 18


def test_a_rare_class_is_shown_as_often_as_the_others():
    """One of eight cases has class 2; without balance one patch in sixteen of those on a class is on it."""
    cases = [cached(i) for i in range(8)]
    for case in cases[1:]:
        case.target[case.target == 2] = 0
    cases = [dataclasses.replace(case, locations=class_locations(case.target, LABELS)) for case in cases]
    for cases_of_class, share in ((None, 1 / 16), ({0: list(range(8)), 1: [0]}, 1 / 2)):
        patches = patch_dataset(cases, patch=(4, 4, 4), share=1.0, augmentation=NONE)
        patches.sampler.cases_of_class = cases_of_class
        shown = [bool((patches[n].target == 2).any()) for n in range(400)]
        assert np.mean(shown) == pytest.approx(share, abs=0.07)
        assert all(patches.case_of(n) == "case0" for n in range(400) if shown[n])
    patches = patch_dataset(cases, patch=(4, 4, 4), share=0.0, augmentation=NONE)
    patches.sampler.cases_of_class = {0: list(range(8)), 1: [0]}
    assert [patches.case_of(n) for n in range(24)] == [patch_dataset(cases).case_of(n) for n in range(24)]
    assert np.mean([bool((patches[n].target > 0).any()) for n in range(100)]) < 0.2


def test_every_epoch_has_all_cases_in_an_order_of_its_own_and_so_has_every_seed():
    cases = [cached(number) for number in range(8)]

    def orders(seed):
        patches = patch_dataset(cases, seed=seed)
        return [[patches.case_of(8 * epoch + n) for n in range(8)] for epoch in range(3)]

    found = [*orders(0), *orders(1)]
    assert all(sorted(order) == [case.id for case in cases] for order in found)
    assert len(set(map(tuple, found))) == 6
