"""Plans for the part of scans that a locator finds."""

import dataclasses

import numpy as np
import pytest

from attention_unet.config import Config, TrainingConfig
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import fill_from_plan, make_plan
from attention_unet.preparation.region import choose_factors, plan_coarsely, region_extent
from attention_unet.preparation.spacing import KEPT, KEPT_AT_LEAST, kept_dice, typical_extent
from attention_unet.scans.orientation import find_stack
from tests.preparation.build import LAPTOP, ball, cohort_of, dataset

QUARTER = Config(training=TrainingConfig(minutes=15))


def chest(structures_mm=(90.0, 90.0, 80.0), grid=(216, 256, 12), spacing=(1.5, 1.5, 8.0)):
    """Short-axis slices of a whole chest: a heart in the middle."""
    cohort = cohort_of(grid, spacing)
    return dataclasses.replace(cohort, shapes=[ball(25.0, spacing)], structures_mm=[np.array(structures_mm)] * 3)


def test_the_region_is_that_of_the_structures_with_margins():
    coarse_mm = 1.5 * np.array(choose_factors([(216, 256, 12)], (1.5, 1.5, 8.0)))
    found = region_extent(chest())
    assert found[:2] == pytest.approx(90 + 4 * coarse_mm[:2])
    assert found[2] == 96  # not more than a scan
    assert region_extent(chest((250.0, 200.0, 90.0))) is None
    assert region_extent(chest((9.0, 9.0, 8.0), grid=(50, 50, 12))) is None  # a locator would see every voxel
    assert region_extent(cohort_of((216, 256, 12), (1.5, 1.5, 8.0))) is None  # without label maps


def test_the_region_holds_all_thick_slices():
    low = chest((90.0, 90.0, 40.0))
    assert region_extent(low)[2] < 96
    stacked = dataclasses.replace(low, stack=find_stack([np.diag([1.5, 1.5, 8.0, 1.0])]))
    assert region_extent(stacked)[2] == 96
    assert region_extent(stacked)[:2] == pytest.approx(region_extent(low)[:2])


def test_voxels_stay_finer_where_a_locator_finds_the_structures():
    located = make_plan(QUARTER, dataset(), chest(), LAPTOP)
    whole = make_plan(QUARTER, dataset(), chest(), LAPTOP, whole_scans=True)
    assert located.region_mm == pytest.approx(region_extent(chest()), abs=0.1)
    assert whole.region_mm is None
    assert located.preprocessing.spacing_mm[0] < whole.preprocessing.spacing_mm[0]
    assert Plan.from_json(located.to_json()) == located
    seen = np.multiply(located.patch, located.preprocessing.spacing_mm)
    assert np.prod(seen) >= 0.5 * np.prod(region_extent(chest()))


def test_a_patch_that_sees_a_tenth_of_the_located_part_keeps_fine_voxels():
    """On whole heads, voxels of 1.12 mm had a Dice of 0.907, and those of 1 mm 0.910."""
    scans = chest((66.0, 105.0, 84.0), (140, 180, 130), (1.0, 1.0, 1.0))
    head = dataclasses.replace(scans, shapes=[ball(7.0, (1.0, 1.0, 1.0))])
    located = make_plan(QUARTER, dataset(), head, LAPTOP)
    assert 1 / 10 < 48**3 / np.prod(located.region_mm) < 1 / 6
    assert KEPT_AT_LEAST < kept_dice(head, [1.12] * 3).mean() < KEPT
    assert located.preprocessing.spacing_mm == (1.0,) * 3
    assert make_plan(QUARTER, dataset(), head, LAPTOP, whole_scans=True).preprocessing.spacing_mm[0] > 1.1
    larger = dataclasses.replace(head, structures_mm=[np.array([78.0, 114.0, 93.0])] * 3)
    assert np.prod(make_plan(QUARTER, dataset(), larger, LAPTOP).region_mm) > 10 * 48**3
    assert make_plan(QUARTER, dataset(), larger, LAPTOP).preprocessing.spacing_mm[0] > 1.1


@pytest.mark.parametrize(
    ("budget", "located"),
    [({"minutes": 4}, False), ({"steps": 900}, False), ({"steps": 1000}, True)],
)
def test_short_budgets_have_no_time_for_a_locator(budget, located):
    config = Config(training=TrainingConfig(**budget))
    assert (make_plan(config, dataset(), chest(), LAPTOP).region_mm is not None) == located


@pytest.mark.parametrize(
    ("grid", "structures_mm", "located"),
    [((66, 66, 126), (49.0, 49.0, 58.0), True), ((78, 78, 78), (30.0,) * 3, False)],
)
def test_a_configuration_filled_from_its_plan_decides_the_same(grid, structures_mm, located):
    """The patch that was planned for the part may see more of a scan than the one that was decided by."""
    scans = chest(structures_mm, grid, (1.0, 1.0, 1.0))
    config = Config(training=TrainingConfig(steps=2000))
    plan = make_plan(config, dataset(), scans, LAPTOP)
    assert (plan.region_mm is not None) == located
    assert fill_from_plan(config, plan).data.locate == located
    assert make_plan(fill_from_plan(config, plan), dataset(), scans, LAPTOP) == plan
    whole = make_plan(config, dataset(), scans, LAPTOP, whole_scans=True)
    assert make_plan(fill_from_plan(config, whole), dataset(), scans, LAPTOP) == whole


def test_coarse_voxels_are_as_cubic_as_the_grid_allows():
    assert choose_factors([(256, 256, 256)], (1.0, 1.0, 1.0)) == (6, 6, 6)
    assert choose_factors([(256, 256, 12)], (1.5, 1.5, 8.0)) == (3, 3, 1)
    assert choose_factors([(40, 50, 40)], (1.0, 1.0, 1.0)) == (1, 1, 1)


def test_a_locator_sees_a_typical_scan():
    plan = make_plan(QUARTER, dataset(), chest(), LAPTOP)
    coarse = plan_coarsely(plan, (3, 3, 1), [(210, 250, 12), (216, 256, 12), (220, 260, 12)], processes=2)
    assert coarse.preprocessing.spacing_mm == tuple(np.multiply(plan.preprocessing.spacing_mm, (3, 3, 1)))
    assert all(edge >= n for edge, n in zip(coarse.patch, (72, 86, 12), strict=True))
    assert typical_extent(chest())[0] == 324
    assert coarse.labels.names == ("structures",)
    assert coarse.batch == 4


def test_a_locator_of_two_slices_is_not_two_voxels_thick():
    """Of 2 voxels, oneDNN computes wrong gradients."""
    plan = make_plan(QUARTER, dataset(), chest(), LAPTOP)
    assert plan_coarsely(plan, (3, 3, 1), [(216, 256, 2)], processes=1).patch[2] == 4
