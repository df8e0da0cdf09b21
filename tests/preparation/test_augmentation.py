import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from attention_unet.config import AugmentationConfig
from attention_unet.preparation.augmentation import Augmentation, Change, PatchTransform, class_shares
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels, likeliest

OFF = {f.name: 0.0 for f in dataclasses.fields(AugmentationConfig) if f.type is float and f.name != "rotation_degrees"}
APPEARANCE = ["noise", "blur", "bias_field", "brightness", "contrast", "gamma", "low_resolution"]
EXCLUSIVE = Labels({"a": (1,), "b": (2,)}, (1, 2))
OVERLAPPING = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))


def augmentation(
    patch=(12, 14, 10),
    spacing=(1.0, 1.0, 1.0),
    slice_axis=None,
    labels=EXCLUSIVE,
    channels=1,
    mirror_axes=(),
    **chances,
):
    names = tuple(f"c{i}" for i in range(channels))
    plan = Plan(names, labels, Preprocessing(spacing, False), (9.0,) * 3, patch, slice_axis, mirror_axes, 2, {})
    return Augmentation(AugmentationConfig(**{**OFF, **chances}), plan)


def drawn(of, seeds):
    return [of.draw_transform(np.random.RandomState(seed)) for seed in seeds]


def batch_of(*changes):
    return Change(*(np.stack(parts) for parts in zip(*changes, strict=True)))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", APPEARANCE)
def test_each_change_alters_the_image_of_its_patch_only(name, dims):
    made = {"patch": (12, 14, 1), "slice_axis": 2} if dims == 2 else {}
    some, none = augmentation(**made, channels=2, **{name: 1.0}), augmentation(**made, channels=2)
    changes = [none.draw_change(np.random.RandomState(0)), some.draw_change(np.random.RandomState(1))]
    image = torch.randn(2, 2, *some.patch, generator=torch.Generator().manual_seed(0))
    after = some.change(image, batch_of(*changes))
    assert after.shape == image.shape
    assert torch.equal(after[0], image[0])
    assert not torch.allclose(after[1, 0], image[1, 0], atol=1e-3)
    assert not torch.allclose(after[1, 1], image[1, 1], atol=1e-3)


def test_a_change_does_not_depend_on_its_batch():
    every = augmentation(**dict.fromkeys(APPEARANCE, 0.7))
    changes = [every.draw_change(np.random.RandomState(seed)) for seed in range(5)]
    image = torch.randn(5, 1, *every.patch)
    together = every.change(image, batch_of(*changes))
    for i, change in enumerate(changes):
        torch.testing.assert_close(every.change(image[i : i + 1], batch_of(change))[0], together[i])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrors_only_the_axes_that_are_named(axis):
    of = augmentation(mirror_axes=(axis,))
    image, target = torch.randn(1, *of.patch), torch.randint(0, 3, (1, *of.patch))
    seen = set()
    for transform in drawn(of, range(12)):
        after, after_target = of.place(image, target, transform)
        mirrored = not torch.equal(after, image)
        seen.add(mirrored)
        assert torch.equal(after, image.flip(1 + axis) if mirrored else image)
        assert torch.equal(after_target, target.flip(1 + axis) if mirrored else target)
    assert seen == {True, False}


def test_mirrored_axes_of_a_slice_are_those_of_the_patient():
    of = augmentation(patch=(12, 1, 10), slice_axis=1, mirror_axes=(2,))
    image = torch.randn(1, 12, 10)
    for transform in drawn(of, range(8)):
        after = of.place(image, image, transform)[0]
        assert torch.equal(after, image) or torch.equal(after, image.flip(2))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.3, 2.1)])
@pytest.mark.parametrize("slice_axis", [None, 1])
def test_placing_equals_slow_sampling(spacing, slice_axis):
    patch = (12, 14, 10) if slice_axis is None else (12, 1, 10)
    chances = {"affine": 1.0, "rotation_degrees": 40.0, "shift": 3.0, "bend": 1.5}
    of = augmentation(patch, spacing, slice_axis, mirror_axes=(0,), **chances)
    for transform in drawn(of, range(4)):
        grid = transform.reach(of.patch)
        smooth = ndimage.gaussian_filter(np.random.RandomState(0).normal(size=grid), 1.0)
        after = of.place(torch.from_numpy(smooth)[None].float(), torch.zeros(1, *grid), transform)[0][0]
        middle, own_middle = (np.array(grid) - 1) / 2, (np.array(of.patch) - 1) / 2
        voxels = np.stack(np.meshgrid(*(np.arange(n) for n in of.patch), indexing="ij"), axis=-1)
        points = [np.linspace(0, n - 1, m) for n, m in zip(of.patch, transform.bend.shape[1:], strict=True)]
        bend = np.stack([RegularGridInterpolator(points, part)(voxels) for part in transform.bend], axis=-1)
        looked_at = (voxels - own_middle) @ transform.sampling.T + middle + transform.shift + bend
        slow = ndimage.map_coordinates(smooth, np.moveaxis(looked_at, -1, 0), order=1, mode="grid-constant")
        np.testing.assert_allclose(after.numpy(), slow, atol=1e-5)


def test_what_a_patch_reaches_covers_all_it_looks_at():
    of = augmentation(spacing=(1.0, 0.7, 2.0), affine=1.0, rotation_degrees=40.0, scale=[0.6, 1.4], shift=3.0, bend=1.5)
    for transform in drawn(of, range(20)):
        reach = transform.reach(of.patch)
        assert all((far - edge) % 2 == 0 for far, edge in zip(reach, of.patch, strict=True))
        after = of.place(torch.ones(1, *reach), torch.ones(1, *reach), transform)
        assert float(after[0].min()) > 0.49  # half a voxel at the edge is interpolated with what lies beyond
        assert float(after[0].mean()) > 0.99


def test_turning_happens_in_millimetres():
    """A ball stays a ball whatever the voxels: its extents along the axes are the same after turning."""
    spacing = (1.0, 1.0, 2.5)
    of = augmentation((32, 32, 14), spacing, affine=1.0, rotation_degrees=45.0, scale=[1.0, 1.0])
    for transform in drawn(of, range(5)):
        reach = transform.reach(of.patch)
        at = np.stack(
            np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(reach, spacing, strict=True)), indexing="ij")
        )
        ball = torch.from_numpy((np.linalg.norm(at, axis=0) < 11).astype(np.uint8))[None]
        after = of.place(ball.float(), ball, transform)[1][0].numpy()
        extents = [s * after.any(axis=tuple({0, 1, 2} - {axis})).sum() for axis, s in enumerate(spacing)]
        assert extents == pytest.approx([22, 22, 22], abs=3)


def test_thick_slices_are_turned_within_themselves():
    of = augmentation(spacing=(1.4, 10.0, 1.4), affine=1.0, rotation_degrees=45.0, scale=[1.0, 1.0])
    for transform in drawn(of, range(5)):
        np.testing.assert_allclose(transform.sampling[1], [0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(transform.sampling[:, 1], [0, 1, 0], atol=1e-12)
        assert abs(transform.sampling[0, 2]) > 1e-3


def test_bends_are_as_strong_as_said_in_millimetres_and_as_far_apart():
    of = augmentation((40, 14, 28), (1.0, 4.0, 2.0), affine=1.0, scale=[1.0, 1.0], bend=1.5)
    bends = np.stack([transform.bend for transform in drawn(of, range(40))])
    assert bends.shape == (40, 3, 6, 8, 8)
    np.testing.assert_allclose(bends.std(axis=(0, 2, 3, 4)), [1.5, 1.5 / 4, 1.5 / 2], rtol=0.03)


def test_shifts_are_at_most_as_far_as_said_and_not_across_thick_slices():
    of = augmentation(spacing=(1.0, 4.0, 2.0), affine=1.0, rotation_degrees=0.0, scale=[1.0, 1.0], shift=4.0)
    shifts = np.abs([transform.shift for transform in drawn(of, range(50))])
    assert np.all(shifts.max(axis=0) <= [4, 1, 2])
    assert np.all(shifts.max(axis=0) > [3.5, 0.87, 1.75])


def test_a_larger_zoom_shows_things_larger():
    of = augmentation((24, 24, 24), affine=1.0, rotation_degrees=0.0, scale=[1.5, 1.5])
    (transform,) = drawn(of, [0])
    target = torch.zeros(1, *transform.reach(of.patch), dtype=torch.uint8)
    middle = target.shape[1] // 2
    target[0, middle - 4 : middle + 4, middle - 4 : middle + 4, middle - 4 : middle + 4] = 1
    assert int(of.place(target.float(), target, transform)[1].sum()) == pytest.approx(1.5**3 * 8**3, rel=0.05)


@pytest.mark.parametrize("labels", [EXCLUSIVE, OVERLAPPING])
def test_shares_of_a_target_give_it_back(labels):
    random = torch.Generator().manual_seed(0)
    top = 2 if labels.overlapping else 3
    target = torch.randint(0, top, (labels.channels if labels.overlapping else 1, 5, 6, 7), generator=random)
    assert torch.equal(likeliest(class_shares(target, labels).float(), labels).long(), target)


def test_a_placement_that_only_mirrors_reaches_no_farther():
    mirrored = PatchTransform(np.diag([1.0, -1.0, 1.0]), np.zeros(3), np.zeros((3, 2, 2, 2)), False)
    assert mirrored.reach((5, 6, 7)) == [5, 6, 7]
