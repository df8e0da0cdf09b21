"""The voxel size of a plan."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from attention_unet.config import Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.preparation import spacing as module
from attention_unet.preparation.fingerprint import Fingerprint, take_shapes
from attention_unet.preparation.planning import make_plan
from attention_unet.preparation.spacing import (
    KEPT,
    KEPT_AT_LEAST,
    choose_spacing,
    describe_loss,
    describe_view,
    kept_dice,
    scan_spacing,
    typical_extent,
    typical_grid,
)
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import Stack
from tests.preparation.build import LAPTOP, ball, cohort_of, dataset

ALL = np.ones(3, dtype=bool)


def plan_of(mm, edge):
    return SimpleNamespace(preprocessing=SimpleNamespace(spacing_mm=(mm,) * 3), patch=(edge,) * 3, region_mm=None)


def chosen(fingerprint, in_plane, voxels):
    return choose_spacing(fingerprint, typical_extent(fingerprint), in_plane, voxels)


def with_balls(fingerprint, *radii_mm):
    spacing = fingerprint.spacings_mm[0]
    return dataclasses.replace(fingerprint, shapes=[ball(radius, spacing) for radius in radii_mm])


def test_the_voxel_size_of_scans_is_their_median():
    spacings = np.array([[1.0, 1.2, z] for z in (4.0, 5.0, 6.0, 6.5, 8.0)])
    assert scan_spacing(Fingerprint(np.array([[256, 256, 20]] * 5), spacings, np.ones(5))) == [1.0, 1.2, 6.0]


def test_a_large_structure_in_fine_voxels_gets_coarser_ones():
    """Patches of 48 voxels of 0.625 mm saw 30 mm of a chamber of 60 mm, and its Dice stayed at 0.37."""
    fine = with_balls(cohort_of((180, 140, 88), (0.625, 0.625, 0.625)), 28.0)
    found = chosen(fine, ALL, 48**3)
    assert 1.2 < found[0] < 1.6
    assert found == [found[0]] * 3
    assert np.prod(np.array([112.5, 87.5, 55]) / found) <= 2 * 48**3
    assert chosen(fine, ALL, 128**3) == [0.625] * 3  # such a patch sees enough as it is


def test_small_structures_keep_fine_voxels():
    head = cohort_of((160, 200, 160), (1.0, 1.0, 1.0))
    assert chosen(with_balls(head, 3.0), ALL, 48**3) == [1.0] * 3
    part = np.full(3, 85.0)  # that a locator finds: a patch sees a sixth of it
    found = choose_spacing(with_balls(head, 12.0), part, ALL, 48**3)
    assert found[0] > 1.0
    assert kept_dice(with_balls(head, 12.0), found).mean() >= KEPT


def test_where_a_patch_sees_little_voxels_may_cost_more():
    """Parcels that fill a head had a Dice of 0.76 in voxels of 1.26 mm and of 0.87 in voxels of 2.5 mm."""
    head = with_balls(cohort_of((160, 200, 160), (1.0, 1.0, 1.0)), 12.0)
    found = chosen(head, ALL, 48**3)
    assert KEPT_AT_LEAST <= kept_dice(head, found).mean() < KEPT
    larger = choose_spacing(head, typical_extent(head), ALL, 96**3)  # which sees a sixth without them
    assert kept_dice(head, larger).mean() >= KEPT


def test_only_axes_that_are_finer_become_coarser():
    slices = with_balls(cohort_of((216, 256, 10), (1.5, 1.5, 10.0)), 35.0)
    found = chosen(slices, ALL, 48**3)
    assert found[0] == found[1] > 1.5
    assert found[2] == 10.0
    flat = chosen(slices, np.array([True, True, False]), 48**3)
    assert flat == [1.5, 1.5, 10.0]  # a slice is seen whole


def test_without_labels_voxels_stay_as_they_are():
    assert chosen(cohort_of((400, 400, 400), (0.5, 0.5, 0.5)), ALL, 48**3) == [0.5] * 3


def test_what_a_patch_sees_is_said():
    fine = with_balls(cohort_of((180, 140, 88), (0.625, 0.625, 0.625)), 28.0)
    assert describe_view(fine, plan_of(0.625, 48)) == (
        "30 x 30 x 30 mm of typical scans of 110 x 88 x 55 mm; the box around the largest class, ball, has "
        "56 x 56 x 56 mm"
    )
    assert describe_view(fine, plan_of(1.25, 48)).endswith(
        "1.25 x 1.25 x 1.25 mm instead of 0.625 x 0.625 x 0.625 mm keep a mean Dice of 0.987, lowest class 0.987"
    )
    assert describe_view(cohort_of((40, 40, 40), (1, 1, 1)), plan_of(1.0, 32)).endswith("of 40 x 40 x 40 mm")


def test_a_configured_voxel_size_that_loses_small_structures_is_told(caplog):
    lesions = with_balls(cohort_of((160, 200, 60), (1.0, 1.0, 3.0)), 3.0)
    assert describe_loss(lesions, [1.0, 1.0, 3.0]) == ""
    assert describe_loss(lesions, [4.0, 4.0, 4.0]).startswith(
        "small structures are lost in voxels of 4 x 4 x 4 mm: label maps keep a mean Dice of 0."
    )
    assert describe_loss(lesions, [4.0, 4.0, 4.0]).endswith("finer voxels; the scans have 1 x 1 x 3 mm")
    assert describe_loss(with_balls(cohort_of((160, 200, 60), (1.0, 1.0, 3.0)), 30.0), [4.0, 4.0, 4.0]) == ""
    make_plan(Config(data=DataConfig(spacing_mm=[4.0] * 3)), dataset(), lesions, LAPTOP)
    assert caplog.text.count("small structures are lost in voxels of 4 x 4 x 4 mm") == 1


def test_a_shape_that_needs_no_resampling_is_kept():
    one = with_balls(cohort_of((40, 40, 40), (1.0, 1.0, 1.0)), 10.0)
    assert kept_dice(one, [1.0, 1.0, 1.0]) == 1.0
    losses = [1 - kept_dice(one, [mm] * 3).item() for mm in (1.4, 2.2, 3.3)]
    assert losses == sorted(losses)


def test_thick_slices_cost_nothing_and_stay():
    """They are not resampled, whatever the typical thickness is: only voxels in their plane become coarser."""
    slices = cohort_of((216, 256, 10), (1.5, 1.5, 8.0))
    mixed = dataclasses.replace(slices, spacings_mm=np.array([[1.5, 1.5, mm] for mm in (8.0, 8.0, 10.0, 10.0, 10.0)]))
    mixed = with_balls(mixed, 35.0)
    stacked = dataclasses.replace(mixed, stack=Stack.upright(2))
    assert kept_dice(stacked, [1.5, 1.5, 10.0]) == 1.0
    assert kept_dice(mixed, [1.5, 1.5, 10.0]) < 0.97
    found, resampled = (chosen(each, ALL, 48**3) for each in (stacked, mixed))
    assert found[2] == resampled[2] == 10.0
    assert found[0] > resampled[0]
    thin = dataclasses.replace(with_balls(cohort_of((216, 256, 60), (1.5, 1.5, 3.5)), 35.0), stack=Stack.upright(2))
    assert chosen(thin, ALL, 48**3)[2] == 3.5
    grid = typical_grid(stacked, typical_extent(stacked), np.array(found))
    assert grid[2] == 10  # slices, not 80 or 100 mm of 10 mm


@pytest.mark.parametrize(
    ("given", "planned", "planes"), [((1, 1, 1), 2.1, 30), ((1, 1, 4), 2.1, 30), ((1, 1, 0.5), 0.5, 126)]
)
def test_a_given_voxel_size_holds_along_thick_slices_only_if_they_are_resampled_to_it(given, planned, planes):
    scans = dataclasses.replace(cohort_of((160, 160, 30), (1.0, 1.0, 2.1)), stack=Stack.upright(2))
    config = Config(data=DataConfig(spacing_mm=list(given)), training=TrainingConfig(minutes=10))
    plan = make_plan(config, dataset(), scans, LAPTOP)
    assert plan.preprocessing.spacing_mm == (1, 1, planned)
    affine = np.diag([1.0, 1.0, 2.1, 1.0])
    assert fit_grid(affine, (160, 160, 30), plan.preprocessing.spacing_mm, plan.preprocessing.stack).grid[2] == (
        pytest.approx(planes, abs=3)
    )
    assert typical_grid(scans, typical_extent(scans), np.array(plan.preprocessing.spacing_mm))[2] == pytest.approx(
        planes
    )


def test_a_given_voxel_size_or_patch_is_taken():
    fine = with_balls(cohort_of((180, 140, 88), (0.625, 0.625, 0.625)), 28.0)
    minutes = TrainingConfig(minutes=10)
    planned = make_plan(Config(training=minutes), dataset(), fine, LAPTOP)
    assert planned.preprocessing.spacing_mm[0] > 0.625
    given = Config(data=DataConfig(spacing_mm=[0.625] * 3), training=minutes)
    assert make_plan(given, dataset(), fine, LAPTOP).preprocessing.spacing_mm == (0.625,) * 3
    whole = Config(data=DataConfig(patch=[176, 136, 88]), training=minutes)
    assert make_plan(whole, dataset(), fine, LAPTOP).preprocessing.spacing_mm == (0.625,) * 3
    slices = Config(network=NetworkConfig(dims=2), training=minutes)
    assert make_plan(slices, dataset(), fine, LAPTOP).preprocessing.spacing_mm == (0.625,) * 3


def test_shapes_are_cut_on_patient_axes(cohort):
    """The phantoms are stored in all axis orders; their ventricles are longest from back to front."""
    from attention_unet.dataset.find_dataset import find_dataset

    found = find_dataset(DataConfig(root=str(cohort)))
    labels = Labels({"Ventricle": (1,), "Nucleus": (2,)}, (1, 2))
    both, together = take_shapes(found.cases, labels, None)
    assert len(both) == 10
    shapes = [shape for shape in both if shape.name == "Ventricle"]
    for one, other, extent in zip(both[::2], both[1::2], together, strict=True):
        assert (extent >= np.maximum(one.extent_mm, other.extent_mm)).all()
        assert (extent <= one.extent_mm + other.extent_mm + 60).all()
    for shape in shapes:
        where = np.argwhere(shape.mask)
        extents = (where.max(axis=0) - where.min(axis=0) + 1) * shape.spacing_mm
        assert extents.argmax() in (0, 1)
        assert min(shape.mask.shape) > 4
        assert sum(np.array(shape.spacing_mm) > 2) == 1


@pytest.mark.parametrize(("kept", "coarser"), [(0.95, True), (0.93, False)])  # 1 - 2 * 0.03 is allowed
def test_voxels_stay_fine_for_one_small_structure_among_large_ones(monkeypatch, kept, coarser):
    monkeypatch.setattr(module, "kept_dice", lambda fingerprint, spacing_mm: np.array([*[1.0] * 9, kept]))
    head = with_balls(cohort_of((160, 200, 160), (1.0, 1.0, 1.0)), 5.0)
    assert (choose_spacing(head, np.full(3, 85.0), ALL, 48**3)[0] > 1.0) == coarser
