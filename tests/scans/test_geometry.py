"""Resampling between a scan and the network's grid: bit for bit where voxels coincide, otherwise as others do it."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from attention_unet.scans import geometry
from attention_unet.scans.geometry import fit_grid, resample_to_grid, resample_to_scan
from attention_unet.scans.orientation import Stack, find_stack
from tests.conftest import ORIENTATIONS, affine_of, oblique_affine, positions_mm

SPACING = (0.9, 1.3, 2.5)
OUTSIDE = torch.tensor([7.0, -7.0])


@pytest.fixture(autouse=True)
def few_planes_at_a_time(monkeypatch):
    monkeypatch.setattr(geometry, "AT_ONCE", 300)  # one or two planes of the scans in this file


def in_chunks(values, sizes=(1, 2, 3)):
    """Yield planes in chunks of changing sizes."""
    first, sizes = 0, itertools.cycle(sizes)
    while first < values.shape[1]:
        last = first + next(sizes)
        yield values[:, first:last]
        first = last


def resample_back(values, scan_grid, outside=OUTSIDE, planes=4):
    rows = slice(0, scan_grid.scan[1])
    chunks = list(resample_to_scan(in_chunks(values), scan_grid, outside, rows, planes))
    return scan_grid.as_stored(torch.cat(chunks, dim=1).numpy())


def interpolated(values, affine, positions):
    """Interpolate values (I, J, K) at positions in mm by SciPy."""
    voxels = (positions - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    return map_coordinates(values.astype(np.float64), np.moveaxis(voxels, -1, 0), order=1, mode="nearest")


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS, ids=str)
def test_exact_in_all_48_orientations(axes, signs):
    """With the scan's voxel size the grid is that of nibabel's canonical image. A box of it returns bit for bit."""
    affine = oblique_affine(SPACING, axes=axes, signs=signs)
    original = np.random.RandomState(0).normal(size=(5, 6, 7)).astype(np.float32)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(original, affine))
    scan_grid = fit_grid(affine, original.shape, SPACING)
    on_grid = resample_to_grid(np.stack([original, original]), scan_grid)
    np.testing.assert_array_equal(on_grid[1], np.asarray(canonical.dataobj))
    np.testing.assert_allclose(affine_of(scan_grid, affine), canonical.affine, atol=1e-6)
    box = scan_grid.cut([(1, 4), (0, 5), (2, 5)])
    np.testing.assert_allclose(affine_of(box, affine), canonical.slicer[1:4, 0:5, 2:5].affine, atol=1e-6)
    found = resample_back(on_grid[:, 1:4, 0:5, 2:5], box)
    expected = np.stack([np.full(original.shape, value, dtype=np.float32) for value in (7, -7)])
    inside = (..., slice(1, 4), slice(0, 5), slice(2, 5))
    box.orient(expected)[inside] = box.orient(np.stack([original, original]))[inside]
    np.testing.assert_array_equal(found, expected)


def averaged(values, scan_grid):
    """Bring values to a grid by integrals over its voxels where they are larger than those of the scan."""
    values = scan_grid.orient(values).astype(np.float64)
    for axis, step in enumerate(scan_grid.step):
        n = values.shape[axis]
        middle = np.arange(scan_grid.grid[axis]) * step

        def resample(line, middle=middle, step=step, n=n):
            if step <= 1:
                return np.interp(middle, np.arange(n), line)
            edges, integral = np.arange(n + 1) - 0.5, np.concatenate([[0], np.cumsum(line)])
            low, high = np.maximum(middle - step / 2, -0.5), np.minimum(middle + step / 2, n - 0.5)
            return (np.interp(high, edges, integral) - np.interp(low, edges, integral)) / (high - low)

        values = np.apply_along_axis(resample, axis, values)
    return values


@pytest.mark.parametrize("spacing", [(1.2, 1.2, 1.2), (0.5, 3.1, 1.0), (0.9, 1.0, 9.0), (40.0, 1.3, 2.5)], ids=str)
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::7], ids=str)
def test_values_are_those_at_their_place_in_the_patient(axes, signs, spacing):
    """To the grid: interpolated, or averaged over larger voxels. Back: interpolated, as SciPy does it."""
    affine = oblique_affine(SPACING, axes=axes, signs=signs)
    values = np.random.RandomState(1).normal(size=(19, 11, 13)).astype(np.float32)
    scan_grid = fit_grid(affine, values.shape, spacing)
    on_grid = resample_to_grid(values[None], scan_grid)
    grid_affine = affine_of(scan_grid, affine)
    np.testing.assert_allclose(np.linalg.norm(grid_affine[:3, :3], axis=0), spacing, rtol=1e-6)
    np.testing.assert_allclose(on_grid[0], averaged(values, scan_grid), atol=1e-5)
    bounds = [(0, n) if n < 4 else (1, n - 1) for n in scan_grid.grid]
    box = scan_grid.cut(bounds)
    inner = on_grid[(slice(None), *(slice(*b) for b in bounds))]
    found = resample_back(inner, box, outside=torch.full((1,), 50.0))[0]
    expected = interpolated(inner[0].numpy(), affine_of(box, affine), positions_mm(values.shape, affine))
    mm = positions_mm(values.shape, affine) - affine_of(box, affine)[:3, 3]
    voxels = mm @ np.linalg.inv(affine_of(box, affine)[:3, :3]).T
    inside = ((voxels > -0.501) & (voxels < np.array(box.grid) - 0.499)).all(axis=-1)
    assert inside.any()
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
    assert (found[~inside] == 50).all()


@pytest.mark.parametrize("spacing", [(1.2, 1.2, 1.2), (0.7, 2.0, 2.0)], ids=str)
def test_storage_order_changes_no_bit(spacing):
    reference = None
    original = np.random.RandomState(0).normal(size=(11, 9, 13)).astype(np.float32)
    ras = nib.Nifti1Image(original, oblique_affine(SPACING))
    for axes, signs in ORIENTATIONS:
        turned = ras.as_reoriented(np.column_stack([axes, signs]))
        scan_grid = fit_grid(turned.affine, turned.shape, spacing)
        on_grid = resample_to_grid(np.asarray(turned.dataobj)[None], scan_grid)
        on_scan = scan_grid.orient(resample_back(on_grid, scan_grid, outside=torch.zeros(1)))
        reference = (on_grid, on_scan) if reference is None else reference
        assert torch.equal(on_grid, reference[0])
        np.testing.assert_array_equal(on_scan, reference[1])


@pytest.mark.parametrize(("thickness", "step"), [(10.0, 1.0), (5.0, 1.0), (17.0, 1.0), (3.2, 2.5), (25.0, 0.32)])
def test_thick_slices_stay_as_they_are(thickness, step):
    """Slices of about the planned thickness are not mixed; much thinner or thicker ones are brought to it."""
    affine = oblique_affine((1.5, 1.5, thickness))
    values = np.random.RandomState(0).normal(size=(12, 14, 9)).astype(np.float32)
    stack = find_stack([affine])
    scan_grid = fit_grid(affine, values.shape, (2.0, 2.0, 8.0), stack)
    assert scan_grid.step == pytest.approx((4 / 3, 4 / 3, step), abs=1e-5)
    assert fit_grid(affine, values.shape, (2.0, 2.0, 8.0)).step[2] == pytest.approx(8 / thickness, abs=1e-5)
    if step == 1:
        on_grid = resample_to_grid(values[None], scan_grid)
        alone = resample_to_grid(values[None, ..., 4:5], fit_grid(affine, (12, 14, 1), (2.0, 2.0, 8.0), stack))
        assert torch.equal(on_grid[..., 4:5], alone)
        changed = values.copy()
        changed[..., 4] += 1
        back, other = (
            resample_back(resample_to_grid(each[None], scan_grid), scan_grid, outside=torch.zeros(1))
            for each in (values, changed)
        )
        assert ((back != other).any(axis=(0, 1, 2)) == (np.arange(9) == 4)).all()


@pytest.mark.parametrize("step", [1.3, 2.0, 2.5, 7.1])
def test_the_number_of_planes_at_a_time_changes_nothing(step, monkeypatch):
    values = np.random.RandomState(0).normal(size=(2, 23, 11, 9)).astype(np.float32)
    scan_grid = fit_grid(np.eye(4), values.shape[1:], (step, 1.4, 0.7))
    few = resample_to_grid(values, scan_grid)
    monkeypatch.setattr(geometry, "AT_ONCE", 2**21)
    torch.testing.assert_close(resample_to_grid(values, scan_grid), few, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("value", [3e38, -1024.3, 7.0])
def test_the_average_of_equal_values_is_that_value(value):
    """Otherwise the background would not be even."""
    values = np.full((1, 9, 9, 9), value, dtype=np.float32)
    found = resample_to_grid(values, fit_grid(np.eye(4), (9, 9, 9), (2.3, 1.7, 3.1)))
    assert (found == values[0, 0, 0, 0].item()).all()


def test_isotropic_scans_of_a_dataset_of_thick_slices_are_resampled():
    stack = find_stack([np.diag([1.0, 1.0, 5.0, 1.0])])
    assert fit_grid(np.diag([2.2, 2.2, 2.2, 1.0]), (9, 9, 9), (1.0, 1.0, 5.0), stack).step[2] == pytest.approx(5 / 2.2)


def test_no_voxel_of_the_scan_is_left_outside_its_whole_grid():
    """Not even if the last voxel is half a voxel beyond the last voxel of the network's grid."""
    for n, step in itertools.product(range(1, 12), (0.3, 0.5, 1.0, 1.6, 2.0, 4.0, 30.0)):
        scan_grid = fit_grid(np.eye(4), (n, n, n), (step, step, step))
        assert (resample_back(torch.zeros(1, *scan_grid.grid), scan_grid, outside=torch.ones(1)) == 0).all()


@pytest.mark.parametrize("grid", [(1, 1, 1), (5, 6, 1), (1, 6, 7), (5, 1, 7)])
@pytest.mark.parametrize("signs", [(-1, -1, -1), (1, -1, 1)])
def test_single_slices_that_run_backwards(grid, signs):
    scan_grid = fit_grid(np.diag([*signs, 1.0]), grid, (1.0, 1.0, 1.0))
    values = np.random.RandomState(0).normal(size=(1, *grid)).astype(np.float32)
    np.testing.assert_array_equal(resample_to_grid(values, scan_grid).numpy(), scan_grid.orient(values))


@pytest.mark.parametrize("step", [0.7, 1.0, 1.6])
def test_values_stay_on_their_device(step):
    scan_grid = fit_grid(np.diag([1.0, 1.0, 1.0, 1.0]), (12, 10, 8), (step,) * 3)
    values = torch.ones(2, *scan_grid.grid, device="meta")  # stands for a GPU
    outside = torch.zeros(2, device="meta")
    chunks = list(resample_to_scan([values], scan_grid, outside, slice(0, 10), planes=5))
    assert [tuple(chunk.shape) for chunk in chunks] == [(2, 5, 10, 8), (2, 5, 10, 8), (2, 2, 10, 8)]
    assert {chunk.device.type for chunk in chunks} == {"meta"}


def test_a_small_difference_of_voxels_counts_if_it_adds_up_to_half_a_voxel():
    long = fit_grid(np.diag([1.0, 1.0, 1.0009, 1.0]), (8, 8, 500), (1.0, 1.0, 1.0))
    assert long.step[2] == pytest.approx(1 / 1.0009, abs=1e-5)
    assert long.step[2] != 1


def test_scans_without_thick_slices_are_resampled_in_a_dataset_of_thick_slices():
    assert fit_grid(np.eye(4), (10, 10, 10), (1.0, 1.0, 2.0), Stack.upright(2)).step == (1, 1, 2)
