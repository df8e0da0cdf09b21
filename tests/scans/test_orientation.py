"""Axes of scans: nearest to the patient's, and thick slices together."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from scipy.spatial.transform import Rotation

from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.orientation import find_slice_axis, nearest_axes

THICK = (1.5, 1.5, 9.0)


def tilted(degrees, spacing=THICK, about="x", turned=0.0):
    """Return an affine whose third axis is tilted from down-up towards back-front (about x) or left-right (about y)."""
    affine = np.eye(4)
    rotation = Rotation.from_euler(about, degrees, degrees=True) * Rotation.from_euler("z", turned, degrees=True)
    affine[:3, :3] = rotation.as_matrix() * np.array(spacing)
    return affine


@pytest.mark.parametrize("slices", [None, 0, 1, 2])
def test_scans_without_thick_slices_lie_along_the_nearest_axes(slices):
    for degrees in (0, 20, 40, 50, 70):
        affine = tilted(degrees, (1.0, 1.2, 1.5))
        order = nib.io_orientation(affine)[:, 0].argsort().astype(int)
        assert nearest_axes(affine, slices)[0] == tuple(order)


@pytest.mark.parametrize("about", ["x", "y"])
def test_thick_slices_stay_together_however_oblique(about):
    stacks = [tilted(degrees, about=about, turned=turned) for degrees in range(20, 71, 10) for turned in (-20, 10)]
    assert {nearest_axes(affine)[0] for affine in stacks} != {(0, 1, 2)}  # by the nearest axes they would not
    axis = find_slice_axis(stacks)
    assert len({nearest_axes(affine, axis) for affine in stacks}) == 1


def test_it_does_not_matter_how_they_are_stored():
    """The same scan in all 48 storage orders comes out along the same axes."""
    affine, array = tilted(55, turned=15), np.arange(8 * 9 * 10).reshape(8, 9, 10)
    found = []
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        change = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)])
        axes, flipped = nearest_axes(affine @ inv_ornt_aff(change, array.shape), 2)
        again = apply_orientation(array, change).transpose(axes)
        found.append(np.flip(again, [axis for axis in range(3) if flipped[axis]]))
    assert all(np.array_equal(each, found[0]) for each in found)


def test_other_directions_keep_their_own_axes():
    """Sagittal slices among axial ones: to turn them would lay the patient down."""
    axial, sagittal = tilted(5), tilted(88, about="y")
    axis = find_slice_axis([axial, axial, sagittal])
    assert axis == 2
    assert nearest_axes(sagittal, axis) == nearest_axes(sagittal)


def test_a_dataset_of_few_thick_slices_has_no_axis_for_them():
    assert find_slice_axis([tilted(0), tilted(0, (1.0, 1.0, 1.0))]) is None
    assert find_slice_axis([tilted(0), tilted(0), tilted(0, (1.0, 1.0, 1.0))]) == 2
    assert find_slice_axis([tilted(0, (1.0, 1.0, 1.9))]) is None


@pytest.mark.parametrize("slices", [0, 1, 2])
def test_values_come_back_where_they_were(slices):
    values = np.arange(8 * 9 * 10).reshape(1, 8, 9, 10)
    for degrees in (10, 50, 70):
        grid = fit_grid(tilted(degrees, about="y"), (8, 9, 10), (1.0, 1.0, 1.0), slices)
        assert np.array_equal(grid.as_stored(grid.orient(values)), values)
