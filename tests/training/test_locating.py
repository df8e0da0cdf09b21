"""Training of the locator: it finds what can be seen, and is left out where it loses something or saves nothing."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch

from attention_unet.config import TrainingConfig
from attention_unet.inference import locator as locator_module
from attention_unet.inference.model_file import load_model
from attention_unet.machine.devices import make_fabric
from attention_unet.preparation import region
from attention_unet.preparation.cache import CachedCase, class_locations
from attention_unet.training import locating as module
from attention_unet.training import train as train_module
from attention_unet.training.locating import judge, train_locator
from attention_unet.training.train import train
from tests.inference.build import plan_of
from tests.training.build import config

PLAN = plan_of(patch=(16, 16, 16))
GRID = (60, 50, 40)


def case(number, edge=6):
    random = np.random.RandomState(number)
    image = random.normal(size=(1, *GRID)).astype(np.float32)
    target = np.zeros((1, *GRID), dtype=np.uint8)
    start = [random.randint(n // 4, n // 2) for n in GRID]
    box = tuple(slice(first, first + edge) for first in start)
    image[0][box] += 4
    target[0][box] = 1 + number % 2
    return CachedCase(f"case_{number}", image, target, class_locations(target, PLAN.labels))


@pytest.fixture
def few_voxels(monkeypatch):
    monkeypatch.setattr(region, "COARSE_VOXELS", 4000)


def test_images_of_a_locator_are_drawn_in_coarse_voxels():
    """Their regions lie where its target and image do."""
    fine = case(3)
    regions = fine.target + np.uint8(1)
    regions[0, :10] = 5
    stored = dataclasses.replace(fine, regions=regions, region_counts=np.bincount(regions.ravel()))
    coarse = module.coarsen_case(stored, (2, 3, 1), PLAN.labels)
    assert coarse.regions.shape == coarse.image.shape == coarse.target.shape
    np.testing.assert_array_equal(coarse.region_counts, np.bincount(coarse.regions.ravel(), minlength=6))
    assert (coarse.regions[0, :5] == 5).all()
    assert not (coarse.regions[0, 5:] == 5).any()
    inside = coarse.regions == regions[fine.target > 0][0]
    assert inside.any()
    assert (coarse.target[inside] == 1).all()
    assert module.coarsen_case(fine, (2, 3, 1), PLAN.labels).regions.size == 0


def settings(steps=1500):
    return config("nowhere", steps=steps, training={"precision": "float32"})


def trained(held_out, steps=1500):
    configuration = settings(steps)
    fabric = make_fabric(configuration.training)
    torch.manual_seed(0)
    return train_locator([case(n) for n in range(8)], held_out, PLAN, configuration, fabric)


def test_a_locator_finds_structures_in_unseen_cases(few_voxels, caplog):
    held_out = [case(n) for n in range(20, 24)]
    with caplog.at_level("INFO"):
        locator = trained(held_out)
    found = judge(locator, held_out, PLAN.labels)
    assert found.recall == [1.0] * 4
    assert found.volume < 0.3
    assert "locator, trained for 150 steps, margin 1: the part it finds holds 100.00 %" in caplog.text


def test_a_locator_that_loses_structures_is_left_out(few_voxels, caplog):
    partly_unseen = case(21)
    partly_unseen.target[0, :3, :3, :3] = 1
    with caplog.at_level("INFO"):
        assert trained([case(20), partly_unseen]) is None
    assert "(lowest case" in caplog.text
    assert "it is not used: expected at least 99.9 % (99 % of every case and class) in at most 60 %" in caplog.text


def test_a_locator_that_loses_a_small_class_is_left_out(few_voxels, caplog):
    """Where the other class has nearly all voxels."""
    held_out = [case(20, edge=12), case(22, edge=12)]
    held_out[0].target[0, 1, 1, 1] = 2
    found = judge(trained([case(24)]), held_out, PLAN.labels)
    assert min(found.recall) > 0.999
    assert found.recall_of_class == {"bright": 1.0, "dark": 0.0}
    assert not found.is_safe
    assert "lowest class, dark, 0.00 %" in str(found)


def test_a_locator_that_finds_everything_is_left_out(few_voxels, monkeypatch):
    monkeypatch.setattr(locator_module, "FOUND", -1.0)
    held_out = [case(n) for n in range(20, 22)]
    assert trained(held_out) is None


def test_cases_are_read_for_half_of_its_time(few_voxels, monkeypatch):
    """However many there are: the network must have the rest of the budget."""
    learnt = []
    monkeypatch.setattr(module, "_learn", lambda learner, patches, *rest: learnt.append(len(patches.sampler.cases)))
    monkeypatch.setattr(module.Budget, "progress", lambda budget, step: 0.6)
    fabric = make_fabric(settings().training)
    train_locator([case(n) for n in range(12)], [case(20)], PLAN, settings(), fabric)
    assert learnt == [module.FEWEST_CASES]


def test_without_held_out_cases_there_is_no_locator(few_voxels):
    assert trained([], steps=1000) is None


def test_the_smallest_margin_that_is_safe_is_kept(few_voxels, caplog):
    """A voxel of a structure lies two coarse voxels beside what can be seen."""
    held_out = [case(20), case(22)]
    i, j, k = np.argwhere(held_out[0].target[0])[0]
    held_out[0].target[0, i - 10, j, k] = 1
    with caplog.at_level("INFO"):
        locator = trained(held_out)
    assert locator.margin > 1
    assert "margin 1: " in caplog.text


def test_a_locator_without_time_for_enough_steps_is_not_trained(few_voxels, monkeypatch, caplog):
    learnt = []
    monkeypatch.setattr(module.Budget, "progress", lambda budget, step: step / 60)
    learn = module.Learner.learn
    monkeypatch.setattr(module.Learner, "learn", lambda *given: learnt.append(1) or learn(*given))
    configuration = dataclasses.replace(settings(), training=TrainingConfig(minutes=10, precision="float32"))
    with caplog.at_level("INFO"):
        found = train_locator([case(0)], [case(20)], PLAN, configuration, make_fabric(configuration.training))
    assert found is None
    assert len(learnt) == module.TRIED_STEPS
    assert "no locator: a tenth of the budget is not enough for 100 steps" in caplog.text


def test_a_locator_that_is_not_safe_leaves_a_plan_for_whole_scans(cohort, tmp_path, monkeypatch, locating, caplog):
    monkeypatch.setattr(module, "RECALL", 2.0)
    with caplog.at_level("INFO"):
        train(config(cohort), tmp_path / "run")
    assert "planning anew, for whole scans" in caplog.text
    model = load_model(tmp_path / "run")
    assert (model.locator, model.plan.region_mm) == (None, None)


def test_without_a_case_to_judge_it_no_locator_is_planned(cohort, tmp_path, locating, caplog):
    with caplog.at_level("INFO"):
        train(config(cohort, data={"fold": -1}), tmp_path / "run")
    assert "planning anew" not in caplog.text
    assert load_model(tmp_path / "run").plan.region_mm is None


@pytest.mark.parametrize("recall", [-1.0, 2.0])
def test_patches_come_from_the_part_that_is_located(cohort, tmp_path, monkeypatch, locating, recall):
    monkeypatch.setattr(module, "RECALL", recall)
    batches = mock.Mock(side_effect=train_module.Batches)
    monkeypatch.setattr(train_module, "Batches", batches)
    train(config(cohort), tmp_path / "run")
    locator = load_model(tmp_path / "run").locator
    assert (locator is None) == (recall > 1)
    assert batches.call_args.args[2] == (locator and locator.margin_voxels)
