"""A small training that was never interrupted."""

from unittest import mock

import pytest

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
