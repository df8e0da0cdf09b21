"""A short training on real scans, with the shipped configuration."""

import json

import pytest

from attention_unet.cli import main
from tests.conftest import REPOSITORY


@pytest.mark.long
@pytest.mark.parametrize("dims", [2, 3])
def test_hippocampus_is_learned_in_a_few_steps(real_data, tmp_path, dims):
    run = tmp_path / "run"
    budget = ["--training.minutes", "null", "--training.steps", "150", "--training.validations", "1"]
    size = ["--network.dims", str(dims), "--training.batch", "2" if dims == 3 else "16"]
    config = ["--config", str(REPOSITORY / "configs" / "hippocampus.yaml"), "--data.root", str(real_data)]
    assert main(["train", *config, "--run", str(run), *budget, *size, "--training.average", "0.95"]) == 0
    trained = json.loads((run / "model.json").read_text())["trained"]
    assert trained["dice"] > 0.7
