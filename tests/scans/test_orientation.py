"""Axes of scans: nearest to the patient's, and thick slices together."""

import dataclasses
import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from scipy.spatial.transform import Rotation

from attention_unet.preparation.fingerprint import evenly_spaced
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.orientation import TURNED, Stack, find_stack, nearest_axes, turned_degrees

THICK = (1.5, 1.5, 9.0)
ALONG = [Stack(axis, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))) for axis in range(3)]


def tilted(degrees, spacing=THICK, about="x", turned=0.0):
    """Return an affine whose third axis is tilted from down-up towards back-front (about x) or left-right (about y)."""
    affine = np.eye(4)
    rotation = Rotation.from_euler(about, degrees, degrees=True) * Rotation.from_euler("z", turned, degrees=True)
    affine[:3, :3] = rotation.as_matrix() * np.array(spacing)
    return affine


def shown(affine, stack):
    """Return the direction of each axis of the network (column) in RAS+."""
    order, against, _ = nearest_axes(affine, stack)
    units = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return units[:, list(order)] * np.where(against, -1, 1)


@pytest.mark.parametrize("stack", [None, *ALONG])
def test_scans_without_thick_slices_lie_along_the_nearest_axes(stack):
    for degrees in (0, 20, 40, 50, 70):
        affine = tilted(degrees, (1.0, 1.2, 1.5))
        order = nib.io_orientation(affine)[:, 0].argsort().astype(int)
        assert nearest_axes(affine, stack)[0] == tuple(order)


@pytest.mark.parametrize("about", ["x", "y"])
def test_thick_slices_stay_together_however_oblique(about):
    stacks = [tilted(degrees, about=about, turned=turned) for degrees in range(20, 71, 10) for turned in (-20, 10)]
    assert {nearest_axes(affine)[0] for affine in stacks} != {(0, 1, 2)}  # by the nearest axes they would not
    stack = find_stack(stacks)
    assert len({nearest_axes(affine, stack) for affine in stacks}) == 1


@pytest.mark.parametrize("seed", [1, 2, 3, 6])
def test_hearts_lie_alike_whatever_the_angles_and_the_storage(seed):
    """As far apart as two short axes can be, no scan is a quarter turn from another, and none is a mirror image."""
    random = np.random.RandomState(seed)
    affines = []
    for _ in range(20):  # slices look left, forward and down; in their plane, scans are turned by up to 40 degrees
        angles = random.uniform(-60, -30), random.uniform(40, 70), 45 + random.uniform(-40, 40)
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("ZXZ", angles, degrees=True).as_matrix() * np.array(THICK)
        change = np.column_stack([random.permutation(3), random.choice([-1, 1], size=3)])
        affines.append(affine @ inv_ornt_aff(change, (8, 9, 10)))
    stack = find_stack(affines)
    found = [shown(affine, stack) for affine in affines]
    assert all(np.linalg.det(axes) > 0.99 for axes in found)
    typical = np.array(stack.directions).T
    assert all(np.diag(typical.T @ axes).min() > 0.6 for axes in found)  # 53 degrees
    nearest = [shown(affine, ALONG[stack.axis]) for affine in affines]
    assert any(np.diag(typical.T @ axes).min() < 0.3 for axes in nearest)  # which RAS+ alone does not give


def test_a_stack_goes_round():
    stack = find_stack([tilted(30, turned=20), tilted(35, turned=25), tilted(60)])
    assert Stack.from_json(json.loads(json.dumps(dataclasses.asdict(stack)))) == stack
    assert Stack.from_json(None) is None
    for wrong in ({"axis": 3, "directions": np.eye(3).tolist()}, {"axis": 0, "directions": [[1.0, 0.0, 0.0]]}):
        with pytest.raises(ValueError, match="expected an axis, 0 to 2, and three directions"):
            Stack.from_json(wrong)


def test_it_does_not_matter_how_they_are_stored():
    """The same scan in all 48 storage orders comes out along the same axes."""
    affine, array = tilted(55, turned=15), np.arange(8 * 9 * 10).reshape(8, 9, 10)
    found = []
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        change = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)])
        axes, flipped, _ = nearest_axes(affine @ inv_ornt_aff(change, array.shape), ALONG[2])
        again = apply_orientation(array, change).transpose(axes)
        found.append(np.flip(again, [axis for axis in range(3) if flipped[axis]]))
    assert all(np.array_equal(each, found[0]) for each in found)


def test_other_directions_keep_their_own_axes():
    """Sagittal slices among axial ones: to turn them would lay the patient down."""
    axial, sagittal = tilted(5), tilted(88, about="y")
    stack = find_stack([axial, axial, sagittal])
    assert stack.axis == 2
    assert nearest_axes(sagittal, stack) == nearest_axes(sagittal)


def test_a_dataset_of_few_thick_slices_has_no_axis_for_them():
    assert find_stack([tilted(0), tilted(0, (1.0, 1.0, 1.0))]) is None
    assert find_stack([tilted(0), tilted(0), tilted(0, (1.0, 1.0, 1.0))]) == ALONG[2]
    assert find_stack([tilted(0, (1.0, 1.0, 1.9))]) is None
    for degrees in range(0, 40, 5):  # as exact as a header
        affine = tilted(degrees, (0.9, 0.9, 1.8)).astype(np.float32).astype(np.float64)
        assert find_stack([affine]) is not None


@pytest.mark.parametrize("stack", ALONG)
def test_values_come_back_where_they_were(stack):
    values = np.arange(8 * 9 * 10).reshape(1, 8, 9, 10)
    for degrees in (10, 50, 70):
        grid = fit_grid(tilted(degrees, about="y"), (8, 9, 10), (1.0, 1.0, 1.0), stack)
        assert np.array_equal(grid.as_stored(grid.orient(values)), values)


def test_no_scan_of_thick_slices_becomes_a_mirror_image():
    stacked = 0
    for number, rotation in enumerate(Rotation.random(400, random_state=0)):
        affine = np.eye(4)
        affine[:3, :3] = rotation.as_matrix() * np.array(THICK) * [1 if number % 2 else -1, 1, 1]
        if nearest_axes(affine, ALONG[2])[2]:
            stacked += 1
            assert np.linalg.det(shown(affine, ALONG[2])) == pytest.approx(1)
    assert 200 < stacked < 400


def test_a_scan_that_is_turned_against_the_others_is_noticed():
    """Headers of ACDC do not tell the true orientation; those of M&Ms do."""
    stack = find_stack([tilted(0)] * 3)
    heart = np.eye(4)
    heart[:3, :3] = np.array([[-0.70, 0.44, -0.62], [-0.70, -0.32, 0.57], [-0.10, -0.83, -0.54]]) * THICK
    assert turned_degrees(tilted(0), stack) == pytest.approx(0, abs=0.1)
    assert turned_degrees(tilted(40), stack) == pytest.approx(40, abs=0.1)
    assert turned_degrees(heart, stack) > TURNED


def test_the_same_scans_are_compared_in_a_dataset_and_in_a_plan():
    affines = [tilted(50, about="x")] * 60
    for i in evenly_spaced(range(60), 20):
        affines[i] = tilted(40, about="x")
    assert find_stack(affines) == find_stack(evenly_spaced(affines, 20))
    assert find_stack(affines).axis != find_stack(affines[1:3]).axis
