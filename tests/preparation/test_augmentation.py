import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from attention_unet.config import AugmentationConfig
from attention_unet.preparation.augmentation import Augmentation, IntensityChange, PatchTransform, class_masks
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels, assign_classes
from attention_unet.scans.orientation import find_stack

OFF = {f.name: 0.0 for f in dataclasses.fields(AugmentationConfig) if f.type is float and f.name != "rotation_degrees"}
INTENSITY = ["noise", "blur", "bias_field", "brightness", "contrast", "gamma", "low_resolution"]
EXCLUSIVE = Labels({"a": (1,), "b": (2,)}, (1, 2))
OVERLAPPING = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))


def augmentation(
    patch=(12, 14, 10),
    spacing=(1.0, 1.0, 1.0),
    slice_axis=None,
    labels=EXCLUSIVE,
    channels=1,
    mirror_axes=(),
    stack=None,
    nonzero=False,
    **chances,
):
    names = tuple(f"c{i}" for i in range(channels))
    plan = Plan(
        names, labels, Preprocessing(spacing, nonzero, stack), (9.0,) * 3, patch, slice_axis, mirror_axes, 2, {}
    )
    return Augmentation(AugmentationConfig(**{**OFF, **chances}), plan)


def draw(augmentation, seeds):
    return [augmentation.draw_transform(np.random.RandomState(seed), 1) for seed in seeds]


def batch_of(*changes):
    return IntensityChange(*(np.stack(parts) for parts in zip(*changes, strict=True)))


def test_rotations_fill_their_range():
    flat = augmentation((12, 14, 1), slice_axis=2, affine=1.0, rotation_degrees=20.0, scale=[1.0, 1.0])
    matrices = np.array([transform.matrix for transform in draw(flat, range(300))])
    degrees = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    assert -20 <= degrees.min() < -18
    assert 18 < degrees.max() <= 20


def test_synthetic_images_are_changed_half_of_the_time_from_the_start():
    rare = augmentation(noise=0.1, channels=2)
    for frequency, synthetic, share in ((0, True, 0.5), (1, True, 0.5), (1, False, 0.1), (0, False, 0.0)):
        changes = [rare.draw_intensity(np.random.RandomState(n), frequency, synthetic) for n in range(400)]
        assert np.mean([bool(change.noise.any()) for change in changes]) == pytest.approx(share, abs=0.07)
        assert not any(change.blur.any() for change in changes)  # what is set to 0 stays off


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", INTENSITY)
def test_each_change_alters_the_image_of_its_patch_only(name, dims):
    made = {"patch": (12, 14, 1), "slice_axis": 2} if dims == 2 else {}
    some, none = augmentation(**made, channels=2, **{name: 1.0}), augmentation(**made, channels=2)
    changes = [none.draw_intensity(np.random.RandomState(0), 1), some.draw_intensity(np.random.RandomState(1), 1)]
    image = torch.randn(2, 2, *some.patch, generator=torch.Generator().manual_seed(0))
    after = some.change_intensity(image, batch_of(*changes))
    assert after.shape == image.shape
    assert torch.equal(after[0], image[0])
    assert not torch.allclose(after[1, 0], image[1, 0], atol=1e-3)
    assert not torch.allclose(after[1, 1], image[1, 1], atol=1e-3)


def test_masked_scans_are_smoothed_from_the_start_and_zeros_beyond_their_edge_stay():
    masked = augmentation(nonzero=True, blur=0.1, low_resolution=0.2)
    changes = [masked.draw_intensity(np.random.RandomState(seed), 0) for seed in range(400)]
    assert 0.18 < np.mean([change.blur != 0 for change in changes]) < 0.32
    assert 0.18 < np.mean([change.low_resolution != 1 for change in changes]) < 0.32
    assert all((change.noise == 0).all() and (change.gamma == 1).all() for change in changes)
    assert all(
        (augmentation(nonzero=True).draw_intensity(np.random.RandomState(n), 1).blur == 0).all() for n in range(9)
    )
    image = 5 + torch.randn(1, 1, *masked.patch, generator=torch.Generator().manual_seed(0))
    image[..., :5] = 0
    for change in (next(c for c in changes if c.blur != 0), next(c for c in changes if c.low_resolution < 0.9)):
        after = masked.change_intensity(image, batch_of(change))
        assert (after[..., 0] == 0).all()
        assert (after[..., 4] != 0).any()


def test_a_change_does_not_depend_on_its_batch():
    every = augmentation(**dict.fromkeys(INTENSITY, 0.7))
    changes = [every.draw_intensity(np.random.RandomState(seed), 1) for seed in range(5)]
    image = torch.randn(5, 1, *every.patch)
    together = every.change_intensity(image, batch_of(*changes))
    for i, change in enumerate(changes):
        torch.testing.assert_close(every.change_intensity(image[i : i + 1], batch_of(change))[0], together[i])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrors_only_the_axes_that_are_named(axis):
    augmenter = augmentation(mirror_axes=(axis,))
    image, target = torch.randn(1, *augmenter.patch), torch.randint(0, 3, (1, *augmenter.patch))
    seen = set()
    for transform in draw(augmenter, range(12)):
        after, after_target = augmenter.transform_patch(image, target, transform)
        flipped = not torch.equal(after, image)
        seen.add(flipped)
        assert torch.equal(after, image.flip(1 + axis) if flipped else image)
        assert torch.equal(after_target, target.flip(1 + axis) if flipped else target)
    assert seen == {True, False}


def test_mirrored_axes_of_a_slice_are_those_of_the_patient():
    augmenter = augmentation(patch=(12, 1, 10), slice_axis=1, mirror_axes=(2,))
    image = torch.randn(1, 12, 10)
    for transform in draw(augmenter, range(8)):
        after = augmenter.transform_patch(image, image, transform)[0]
        assert torch.equal(after, image) or torch.equal(after, image.flip(2))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.3, 2.1)])
@pytest.mark.parametrize("slice_axis", [None, 1])
def test_placing_equals_slow_sampling(spacing, slice_axis):
    patch = (12, 14, 10) if slice_axis is None else (12, 1, 10)
    chances = {"affine": 1.0, "rotation_degrees": 40.0, "shift": 3.0, "bend": 1.5}
    augmenter = augmentation(patch, spacing, slice_axis, mirror_axes=(0,), **chances)
    for transform in draw(augmenter, range(4)):
        grid = transform.source_size(augmenter.patch)
        smooth = ndimage.gaussian_filter(np.random.RandomState(0).normal(size=grid), 1.0)
        image = torch.from_numpy(smooth)[None].float()
        after = augmenter.transform_patch(image, torch.zeros(1, *grid), transform)[0][0]
        middle, patch_middle = (np.array(grid) - 1) / 2, (np.array(augmenter.patch) - 1) / 2
        voxels = np.stack(np.meshgrid(*(np.arange(n) for n in augmenter.patch), indexing="ij"), axis=-1)
        points = [
            np.linspace(0, n - 1, m) for n, m in zip(augmenter.patch, transform.displacement.shape[1:], strict=True)
        ]
        displacement = np.stack(
            [RegularGridInterpolator(points, part)(voxels) for part in transform.displacement], axis=-1
        )
        position = (voxels - patch_middle) @ transform.matrix.T + middle + transform.shift + displacement
        slow = ndimage.map_coordinates(smooth, np.moveaxis(position, -1, 0), order=1, mode="grid-constant")
        np.testing.assert_allclose(after.numpy(), slow, atol=1e-5)


def test_what_a_patch_reaches_covers_all_it_looks_at():
    augmenter = augmentation(
        spacing=(1.0, 0.7, 2.0), affine=1.0, rotation_degrees=40.0, scale=[0.6, 1.4], shift=3.0, bend=1.5
    )
    for transform in draw(augmenter, range(20)):
        size = transform.source_size(augmenter.patch)
        assert all((n - edge) % 2 == 0 for n, edge in zip(size, augmenter.patch, strict=True))
        after = augmenter.transform_patch(torch.ones(1, *size), torch.ones(1, *size), transform)
        assert float(after[0].min()) > 0.49  # half a voxel at the edge is interpolated with zeros
        assert float(after[0].mean()) > 0.99


def test_turning_happens_in_millimetres():
    """A ball stays a ball with any voxel size: its extents along the axes are the same after rotation."""
    spacing = (1.0, 1.0, 2.5)
    augmenter = augmentation((32, 32, 14), spacing, affine=1.0, rotation_degrees=45.0, scale=[1.0, 1.0])
    for transform in draw(augmenter, range(5)):
        size = transform.source_size(augmenter.patch)
        at = np.stack(
            np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)), indexing="ij")
        )
        ball = torch.from_numpy((np.linalg.norm(at, axis=0) < 11).astype(np.uint8))[None]
        after = augmenter.transform_patch(ball.float(), ball, transform)[1][0].numpy()
        extents = [s * after.any(axis=tuple({0, 1, 2} - {axis})).sum() for axis, s in enumerate(spacing)]
        assert extents == pytest.approx([22, 22, 22], abs=3)


def test_thick_slices_are_changed_within_themselves():
    """None is mixed with its neighbours: each moves and bends within its plane, and loses detail there."""
    stack = find_stack([np.diag([1.4, 4.0, 1.4, 1.0])])
    changes = {"affine": 1.0, "rotation_degrees": 45.0, "shift": 4.0, "bend": 1.5}
    augmenter = augmentation((24, 6, 24), (1.4, 4.0, 1.4), stack=stack, **changes)
    for transform in draw(augmenter, range(5)):
        np.testing.assert_allclose(transform.matrix[1], [0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(transform.matrix[:, 1], [0, 1, 0], atol=1e-12)
        assert abs(transform.matrix[0, 2]) > 1e-3
        assert transform.matrix[0, 0] != transform.matrix[2, 2]  # zoomed in plane
        assert transform.shift[1] == 0
        assert not transform.displacement[1].any()
        assert transform.displacement[0].std() > 1
    image = torch.zeros(1, 1, 24, 6, 24)
    image[..., 3, :] = torch.randn(24, 24, generator=torch.Generator().manual_seed(0))
    for change in ({"blur": 1.0}, {"low_resolution": 1.0}):
        augmenter = augmentation((24, 6, 24), (1.4, 4.0, 1.4), stack=stack, **change)
        for seed in range(4):  # strong enough
            after = augmenter.change_intensity(
                image, batch_of(augmenter.draw_intensity(np.random.RandomState(seed), 1))
            )
            assert not torch.equal(after, image)
            assert not after[..., [0, 1, 2, 4, 5], :].any()


def test_single_slices_are_changed_within_themselves():
    changes = {"affine": 1.0, "rotation_degrees": 45.0, "shift": 4.0, "bend": 1.5}
    for transform in draw(augmentation((24, 20, 1), (1.0, 1.0, 1.0), **changes), range(5)):
        np.testing.assert_allclose(transform.matrix[2], [0, 0, 1], atol=1e-12)
        assert abs(transform.matrix[0, 1]) > 1e-3
        assert transform.shift[2] == 0


def test_bends_are_as_strong_as_said_in_millimetres_and_as_far_apart():
    augmenter = augmentation((40, 14, 28), (1.0, 4.0, 2.0), affine=1.0, scale=[1.0, 1.0], bend=1.5)
    displacements = np.stack([transform.displacement for transform in draw(augmenter, range(40))])
    assert displacements.shape == (40, 3, 6, 8, 8)
    np.testing.assert_allclose(displacements.std(axis=(0, 2, 3, 4)), [1.5, 1.5 / 4, 1.5 / 2], rtol=0.03)


def test_shifts_are_at_most_as_far_as_said_and_not_across_thick_slices():
    augmenter = augmentation(spacing=(1.0, 4.0, 2.0), affine=1.0, rotation_degrees=0.0, scale=[1.0, 1.0], shift=4.0)
    shifts = np.abs([transform.shift for transform in draw(augmenter, range(50))])
    assert np.all(shifts.max(axis=0) <= [4, 1, 2])
    assert np.all(shifts.max(axis=0) > [3.5, 0.87, 1.75])


def test_a_larger_zoom_shows_things_larger():
    augmenter = augmentation((24, 24, 24), affine=1.0, rotation_degrees=0.0, scale=[1.5, 1.5])
    (transform,) = draw(augmenter, [0])
    target = torch.zeros(1, *transform.source_size(augmenter.patch), dtype=torch.uint8)
    middle = target.shape[1] // 2
    target[0, middle - 4 : middle + 4, middle - 4 : middle + 4, middle - 4 : middle + 4] = 1
    after = augmenter.transform_patch(target.float(), target, transform)[1]
    assert int(after.sum()) == pytest.approx(1.5**3 * 8**3, rel=0.05)


@pytest.mark.parametrize("labels", [EXCLUSIVE, OVERLAPPING])
def test_shares_of_a_target_give_it_back(labels):
    random = torch.Generator().manual_seed(0)
    top = 2 if labels.overlapping else 3
    target = torch.randint(0, top, (labels.channels if labels.overlapping else 1, 5, 6, 7), generator=random)
    shares = itertools.chain.from_iterable(class_masks(target, labels, torch.float32))
    assert torch.equal(assign_classes(shares, labels).long(), target)


def test_a_placement_that_only_mirrors_reaches_no_farther():
    flip = PatchTransform(np.diag([1.0, -1.0, 1.0]), np.zeros(3), np.zeros((3, 2, 2, 2)), False)
    assert flip.source_size((5, 6, 7)) == [5, 6, 7]


def test_dropped_channels_are_their_mean_and_one_stays():
    some = augmentation(channels=3, drop_channel=0.6, noise=1.0)
    without_drops = augmentation(channels=3, noise=1.0)
    changes = [some.draw_intensity(np.random.RandomState(seed), 1) for seed in range(400)]
    kept = np.stack([change.kept for change in changes])
    assert set(np.unique(kept)) == {0.0, 1.0}
    assert (kept.sum(axis=1) >= 1).all()
    single = 0.6**2 * 0.4 + 0.6**3 / 3  # a given channel alone: drawn so, or the one that stays
    assert (kept.sum(axis=1) == 1).mean() == pytest.approx(3 * single, abs=0.08)
    assert kept.mean(axis=0) == pytest.approx([0.4 + 0.6**3 / 3] * 3, abs=0.08)
    image = torch.randn(6, 3, *some.patch, generator=torch.Generator().manual_seed(0))
    found = some.change_intensity(image, batch_of(*changes[:6]))
    expected = without_drops.change_intensity(image, batch_of(*changes[:6])._replace(kept=np.ones((6, 3), np.float32)))
    for row in range(6):
        for channel in range(3):
            if kept[row, channel]:
                assert torch.equal(found[row, channel], expected[row, channel])
            else:
                assert not found[row, channel].any()


def test_every_patch_has_noise_of_its_own():
    random = np.random.RandomState(0)
    seeds = {int(augmentation().draw_intensity(random, 1).seed[0]) for _ in range(10)}
    assert len(seeds) == 10
