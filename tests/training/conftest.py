"""A small training that was never interrupted."""

import pytest

from attention_unet.training.train import train
from tests.training.build import config


@pytest.fixture(scope="module")
def unbroken(cohort, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config(cohort), run)
    return run
