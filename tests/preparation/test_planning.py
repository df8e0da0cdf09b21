import dataclasses
import itertools
import json

import numpy as np
import pytest

from attention_unet.config import AugmentationConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import ConfigError
from attention_unet.machine.devices import Machine
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.levels import plan_levels
from attention_unet.preparation.patch_size import fit_patch
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import classes_of_sides, fill_from_plan, make_plan
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import Stack
from tests.preparation.build import LAPTOP, cohort_of, dataset


def test_hippocampus_gets_the_known_plan():
    plan = make_plan(Config(), dataset(), cohort_of((35, 50, 36), (1, 1, 1)), LAPTOP)
    assert plan.patch == (40, 56, 40)
    assert plan.architecture.strides == [[2, 2, 2]] * 3
    assert plan.architecture.channels == [16, 32, 64, 128]
    assert plan.preprocessing.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.largest_mm == (35.0, 50.0, 36.0)


def test_thick_slices_are_neither_convolved_nor_divided_at_first():
    steps = Config(training=TrainingConfig(steps=500))
    plan = make_plan(steps, dataset(), cohort_of((256, 256, 10), (1.4, 1.4, 10)), LAPTOP)
    strides, kernels = plan.architecture.strides, plan.architecture.kernels
    assert strides[0] == [2, 2, 1]
    assert kernels[0] == [3, 3, 1]
    assert kernels[-1][2] == 3  # once in-plane voxels are as coarse, it is
    assert plan.patch[2] <= 10
    assert plan.patch[0] * plan.patch[1] * plan.patch[2] < 1.5 * 64**3


def test_an_axis_once_convolved_across_stays_so():
    """In-plane voxels may grow past those across slices, where too few voxels are left to halve."""
    strides, kernels = plan_levels(np.array([192, 192, 10]), np.array([1.4, 1.4, 10.0]), max_levels=6)
    assert kernels == [[3, 3, 1], [3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert strides == [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 1], [2, 2, 1]]


def test_a_gpu_gets_a_batch_for_the_patch_it_gets():
    gpu = Machine("cuda", 24 * 2**30, 8, True, 1)
    plan = make_plan(Config(), dataset(), cohort_of((35, 50, 36), (1, 1, 1)), gpu)
    assert (plan.patch, plan.batch, plan.architecture.channels[0]) == ((40, 56, 40), 11, 32)


def test_patch_fits_the_cohort_and_the_limit():
    assert fit_patch(np.array([35.0, 50.0, 36.0]), np.ones(3), np.ones(3, dtype=bool), 10**6) == [35, 50, 36]
    size = fit_patch(np.array([160.0, 200.0, 160.0]), np.ones(3), np.ones(3, dtype=bool), 64**3)
    assert size == [64, 64, 64]
    flat = fit_patch(np.array([200.0, 200.0, 60.0]), np.array([1.0, 1.0, 4.0]), np.ones(3, dtype=bool), 64**3)
    assert flat[0] == pytest.approx(4 * flat[2], abs=4)


@pytest.mark.parametrize(
    ("grid", "edge", "patch"),
    [(200, 70, (64, 64, 64)), (70, 70, (80, 80, 80)), (200, 72, (64, 80, 80)), (200, 88, (80, 96, 96))],
)
def test_a_patch_is_rounded_to_about_its_voxels_or_up_if_it_sees_everything(grid, edge, patch):
    config = Config(data=DataConfig(patch_voxels=edge**3))
    assert make_plan(config, dataset(), cohort_of((grid,) * 3, (1.0,) * 3), LAPTOP).patch == patch


def test_every_level_keeps_four_voxels():
    strides, kernels = plan_levels(np.array([17, 64, 9]), np.ones(3), max_levels=9)
    assert len(kernels) == len(strides) + 1
    for axis, size in enumerate((17, 64, 9)):
        for stride in strides:
            size = -(-size // stride[axis])
        assert size >= 4


def test_slices_run_across_the_axis_that_a_given_patch_names():
    def plan_of(patch):
        config = Config(data=DataConfig(patch=patch), network=NetworkConfig(dims=2))
        return make_plan(config, dataset(), cohort_of((80, 64, 40), (1, 1, 1)), LAPTOP)

    assert plan_of([1, 16, 24]).slice_axis == 0
    assert plan_of([1, 16, 24]).patch == (1, 16, 24)
    assert plan_of(None).slice_axis == 2
    single = make_plan(Config(network=NetworkConfig(dims=2)), dataset(), cohort_of((1, 80, 64), (1, 1, 1)), LAPTOP)
    assert single.slice_axis == 0
    assert single.patch[1] > 1 < single.patch[2]
    for patch in ([16, 16, 16], [1, 1, 16]):
        with pytest.raises(ConfigError, match="expected exactly one 1"):
            plan_of(patch)


def test_prediction_mirrors_no_axis_that_slices_do_not_see():
    flips = AugmentationConfig(flip_axes=["left-right", "down-up"])
    for dims, axes in ((2, (0,)), (3, (0, 2))):
        config = Config(augmentation=flips, network=NetworkConfig(dims=dims))
        assert make_plan(config, dataset(), cohort_of((80, 64, 40), (1, 1, 1)), LAPTOP).mirror_axes == axes


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("grid", [(35, 50, 36), (160, 210, 170), (77, 61, 13), (9, 300, 31)])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 0.7, 5.0), (1.4, 2.5, 10.0)])
def test_a_configuration_filled_from_its_plan_gives_the_same_plan_on_any_machine(dims, grid, spacing):
    config = Config(network=NetworkConfig(dims=dims), training=TrainingConfig(minutes=60))
    plan = make_plan(config, dataset(), cohort_of(grid, spacing), LAPTOP)
    other = Machine("cuda", 80 * 2**30, 16, True, 4)
    assert make_plan(fill_from_plan(config, plan), dataset(), cohort_of(grid, spacing), other) == plan


def test_voxel_sizes_of_single_precision_give_the_network_of_the_rounded_ones():
    cohorts = [cohort_of((160, 160, 60), (1.0, 1.0, mm)) for mm in (1.9999999, 2.0, 2.0000001)]
    plans = [make_plan(Config(), dataset(), each, LAPTOP) for each in cohorts]
    assert plans[0] == plans[1] == plans[2]
    assert make_plan(fill_from_plan(Config(), plans[0]), dataset(), cohorts[0], LAPTOP) == plans[0]


def test_with_a_model_to_start_from_scans_get_the_grid_of_that_model():
    """Its voxels are not those of thick slices, and slices that it knows may lie along another axis."""
    scans = dataclasses.replace(cohort_of((160, 160, 30), (1.0, 1.0, 2.0)), stack=Stack.upright(2))
    for stack, spacing in ((None, (1.0, 1.0, 1.0)), (Stack.upright(1), (1.0, 4.0, 1.0))):
        before = dataclasses.replace(cohort_of((160, 60, 160), spacing), stack=stack)
        start = make_plan(Config(), dataset(), before, LAPTOP)
        found = make_plan(Config(training=TrainingConfig(start_from="m")), dataset(), scans, LAPTOP, start=start)
        assert found.preprocessing == start.preprocessing


def test_masked_images_are_normalised_within_the_mask():
    assert make_plan(Config(), dataset(), cohort_of((80, 80, 80), (1, 1, 1), kept=0.6), LAPTOP).preprocessing.nonzero
    assert not make_plan(
        Config(), dataset(), cohort_of((80, 80, 80), (1, 1, 1), kept=0.9), LAPTOP
    ).preprocessing.nonzero


def test_fingerprint_is_on_patient_axes(cohort):
    fingerprint = take_fingerprint((found := find_dataset(DataConfig(root=str(cohort)))).cases, found.labels)
    assert len(fingerprint.grids) == 8
    assert (fingerprint.spacings_mm[:, 2] > 2.1).all()  # slices are thick from down to up, however they are stored
    assert (fingerprint.spacings_mm[:, :2] < 1.7).all()
    assert (fingerprint.grids[:, 2] < fingerprint.grids[:, 0]).all()


def test_fingerprint_is_on_the_axes_of_a_model_to_start_from(cohort):
    found = find_dataset(DataConfig(root=str(cohort)))
    stack = Stack.upright(1)
    before = dataclasses.replace(cohort_of((160, 60, 160), (1.0, 4.0, 1.0)), stack=stack)
    start = make_plan(Config(), dataset(), before, LAPTOP)
    assert take_fingerprint(found.cases, found.labels).stack != stack
    assert take_fingerprint(found.cases, found.labels, start).stack == stack


def test_no_level_has_two_voxels_along_an_axis():
    """In bfloat16 on a CPU the gradients of convolutions of two voxels along the first axis are wrong in torch 2.13."""
    for size in itertools.product((1, 4, 5, 7, 8, 9, 16, 40), repeat=3):
        grid = np.array(size)
        for strides in plan_levels(grid, np.ones(3), 6)[0]:
            grid = np.ceil(grid / strides)
            assert 2 not in grid, size
    assert fit_patch(np.array([2, 2, 200]), np.ones(3), np.array([0, 1, 2]), 10**6) == [4, 4, 200]


def test_channels_may_miss_if_training_drops_them():
    drop = Config(augmentation=AugmentationConfig(drop_channel=0.2))
    cohort = cohort_of((35, 50, 36), (1, 1, 1))
    plan = make_plan(drop, dataset(channels=2), cohort, LAPTOP)
    assert plan.channels_may_miss
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))).channels_may_miss
    assert not make_plan(Config(), dataset(channels=2), cohort, LAPTOP).channels_may_miss
    assert not make_plan(drop, dataset(channels=1), cohort, LAPTOP).channels_may_miss


@pytest.mark.parametrize(("slices", "spacing"), [(1, 1.0), (7, 0.9)])
def test_few_slices_thinner_than_in_plane_voxels_do_not_stop_convolutions_in_plane(slices, spacing):
    _, kernels = plan_levels(np.array([96, 96, slices]), np.array([2.0, 2.0, spacing]), max_levels=5)
    assert kernels == [[3, 3, 1 if slices == 1 else 3]] * 5


def test_a_network_that_starts_from_a_model_keeps_its_own_width():
    """In a study, the plan of the first arm fills what other arms leave open."""
    plan = make_plan(Config(), dataset(), cohort_of((80, 64, 40), (1, 1, 1)), LAPTOP)
    assert fill_from_plan(Config(), plan).network.base_channels == plan.architecture.channels[0]
    start = Config(training=TrainingConfig(start_from="model"))
    assert fill_from_plan(start, plan).network.base_channels is None


def test_twice_as_thick_slices_are_halved_later_and_odd_edges_as_often_as_they_can_be():
    strides, _ = plan_levels(np.array([64, 64, 32]), np.array([1.0, 1.0, 2.0]), max_levels=6)
    assert strides[:2] == [[2, 2, 1], [2, 2, 2]]
    strides, _ = plan_levels(np.array([15, 15, 15]), np.ones(3), max_levels=6)
    assert strides == [[2, 2, 2], [2, 2, 2]]  # 15, 8, 4


@pytest.mark.parametrize("fields", [{"spacing_mm": [1.25, 1.25, 10.0]}, {"patch": [64, 64, 1]}])
def test_slices_that_are_configured_along_another_axis_are_refused(fields):
    oblique = dataclasses.replace(cohort_of((256, 11, 256), (1.25, 10, 1.25)), stack=Stack.upright(1))
    dims = 2 if "patch" in fields else 3
    with pytest.raises(ConfigError, match="those of this dataset follow each other along back-front: expected"):
        make_plan(Config(data=DataConfig(**fields), network=NetworkConfig(dims=dims)), dataset(), oblique, LAPTOP)
    right = {name: [values[0], values[2], values[1]] for name, values in fields.items()}
    make_plan(Config(data=DataConfig(**right), network=NetworkConfig(dims=dims)), dataset(), oblique, LAPTOP)


def test_flips_of_classes_of_sides_are_warned_of(caplog):
    assert classes_of_sides(["Left-Thalamus", "Right-Thalamus", "Brain-Stem"]) == ["Left-Thalamus", "Right-Thalamus"]
    assert classes_of_sides(["ctx_lh_x", "ctx_rh_x", "l", "lesion"]) == ["ctx_lh_x", "ctx_rh_x"]
    sides = dataclasses.replace(dataset(), labels=Labels({"left": (1,), "right": (2,)}, (1, 2)))
    for axes, warned in (([], False), (["left-right"], True)):
        config = Config(augmentation=AugmentationConfig(flip_axes=axes))
        make_plan(config, sides, cohort_of((40, 40, 40), (1, 1, 1)), LAPTOP)
        assert ("left, right are named after sides" in caplog.text) == warned
