"""A small training that was never interrupted, and trainings with locators."""

from unittest import mock

import pytest

from attention_unet.preparation import region
from attention_unet.training import locating as locating_module
from attention_unet.training.monitor import Monitor
from attention_unet.training.train import train
from tests.conftest import DRAW
from tests.training.build import config


@pytest.fixture(scope="session")
def unbroken(cohort, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    with mock.patch.object(Monitor, "_draw", DRAW):
        train(config(cohort), run)
    return run


@pytest.fixture
def locating(monkeypatch):
    """Every training has a locator, which learns for three steps and is kept."""
    for name, value in {"SMALL": 2.0, "FEWEST_STEPS": 1, "SHARE": 0.5, "COARSE_VOXELS": 500}.items():
        monkeypatch.setattr(region, name, value)
    for name, value in {"SHARE": 0.5, "RECALL": -1, "LOWEST_RECALL": -1, "MOST_VOLUME": 1}.items():
        monkeypatch.setattr(locating_module, name, value)
