"""Trainings that start from a model."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open

from attention_unet.cli import main
from attention_unet.config import Config, TrainingConfig
from attention_unet.errors import ConfigError, ModelError
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.inference.settings import Settings
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.plan import read_plan
from attention_unet.scans.labels import Labels
from attention_unet.training import starting_weights
from attention_unet.training.starting_weights import (
    Origin,
    match_channels,
    match_classes,
    take_weights,
    warn_of_trained_on,
)
from attention_unet.training.train import read_config, train
from tests.training.build import config, same, weights, with_section

UNCHANGED = {"learning_rate": 1e-30, "weight_decay": 0.0}  # smaller than the last bit of a weight
BOTH = {"skips": "encoding", "bottleneck": "encoding", "encoder": ["gct", "se"]}


def from_model(cohort, start, **training):
    plain = config(cohort, steps=training.pop("steps", 2), training={"start_from": str(start), **training})
    return dataclasses.replace(plain, network=Config().network)


def classes(*names):
    return Labels({name: (i,) for i, name in enumerate(names, start=1)}, tuple(range(1, len(names) + 1)))


def plan_of(plan, channels, labels, **architecture):
    made = Architecture(
        **{"dims": 2, "channels": (4, 8, 8), **architecture}, in_channels=len(channels), out_channels=labels.channels
    )
    return dataclasses.replace(plan, channels=channels, labels=labels, architecture=made)


@pytest.fixture
def plan(unbroken):
    return read_plan(unbroken / "plan.json")


def take(old, new):
    """Return the weights of a model, of a new network, and of the same after it took those of the model."""
    torch.manual_seed(0)
    start = Model(AttentionUNet(old.architecture), old, torch.device("cpu"))
    for parameter in start.network.parameters():
        torch.nn.init.normal_(parameter)
    network = AttentionUNet(new.architecture)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    take_weights(network, new, start)
    return start.network.state_dict(), before, network.state_dict()


@pytest.mark.parametrize(
    ("old", "new", "sources"),
    [
        (["T1", "T2"], ["T1", "T2"], [[0], [1]]),
        (["T1", "T2"], ["T2", "T1"], [[1], [0]]),
        (["T1", "T2"], ["a", "b"], [[0], [1]]),
        (["T1", "T2"], ["T2", "b"], [[1], [0, 1]]),
        (["T1", "T2"], ["T2"], [[1]]),
        (["T1"], ["T2"], [[0]]),
        (["T1"], ["T1", "T2"], [[0], [0]]),
        (["T1", "T2", "T3"], ["a"], [[0, 1, 2]]),
    ],
)
def test_channels_start_from_those_of_their_name(old, new, sources):
    assert match_channels(old, new) == sources


def test_classes_start_from_those_of_their_name():
    assert match_classes(classes("a", "b"), classes("b", "c", "a")) == {0: 0, 1: 2, 3: 1}
    assert match_classes(classes("a", "b"), classes("c")) == {}
    overlapping = Labels({"whole": (1, 2), "a": (1,)}, (2, 1))
    assert match_classes(overlapping, classes("a", "b")) == {}
    assert match_classes(overlapping, Labels({"a": (1,), "b": (1, 2)}, (1, 2))) == {0: 1}


@pytest.mark.parametrize("options", [{}, BOTH, {"block": "residual", "inputs": "se"}, {"dims": 3}], ids=str)
def test_all_weights_of_the_same_network_are_taken(plan, options):
    same_plan = plan_of(plan, ("T1", "T2"), classes("a", "b"), **options)
    old, _, after = take(same_plan, same_plan)
    assert same(old, after)


@pytest.mark.parametrize("block", ["plain", "residual"])
def test_what_fits_is_taken_and_the_rest_stays_new(plan, block, caplog):
    options = {**BOTH, "block": block}
    old_plan = plan_of(plan, ("T1", "T2"), classes("a", "b", "c"), **options)
    old, before, after = take(old_plan, plan_of(plan, ("T2", "PD", "T1"), classes("c", "d"), **options))
    for name, weight in after.items():
        if weight.shape == old[name].shape:
            assert torch.equal(weight, old[name]), name
        elif name.startswith("heads") or "classify" in name:
            assert torch.equal(weight[[0, 1]], old[name][[0, 3]]), name
            assert torch.equal(weight[2], before[name][2]), name
        else:
            assert name in ("encoder.0.body.0.0.weight", "encoder.0.shortcut.0.weight")
            expected = [old[name][:, 1], (old[name][:, 0] + old[name][:, 1]) / 2, old[name][:, 0]]
            torch.testing.assert_close(weight, torch.stack(expected, dim=1))
    with caplog.at_level("INFO"):
        take(old_plan, plan_of(plan, ("T2", "PD", "T1"), classes("c", "d"), **options))
    assert "channel PD starts as the mean of T1, T2" in caplog.text
    assert "new classes: d" in caplog.text
    # Two heads on 8 and 4 channels, each with a bias: two of three rows.
    assert f"heads      {2 * (9 + 5):>11} of {3 * (9 + 5):>11} weights taken" in caplog.messages


@pytest.mark.parametrize("options", [{"inputs": "se"}, {"encoder": {0: "gct"}}], ids=str)
def test_attention_on_the_image_stays_new_for_channels_in_another_order(plan, options):
    old_plan = plan_of(plan, ("T1", "T2"), classes("a"), **options)
    _, before, after = take(old_plan, plan_of(plan, ("T2", "T1"), classes("a"), **options))
    of_channels = [name for name in after if name.startswith(("inputs.", "encoder.0.body.0.attention."))]
    assert of_channels
    assert all(torch.equal(after[name], before[name]) for name in of_channels)


def test_no_step_gives_the_very_masks_of_the_model(cohort, unbroken, tmp_path):
    train(from_model(cohort, unbroken, steps=1, **UNCHANGED), tmp_path / "run")
    assert same(weights(tmp_path / "run"), weights(unbroken))
    scan = sorted((cohort / "imagesTr").iterdir())[0]
    found = [
        load_model(run).predict(scan, Settings(probabilities=True, overlap=0.5)) for run in (unbroken, tmp_path / "run")
    ]
    assert np.array_equal(*(prediction.probabilities.get_fdata() for prediction in found))


def test_a_fixed_encoder_keeps_the_weights_of_the_model(cohort, unbroken, tmp_path):
    train(from_model(cohort, unbroken, fixed_encoder=1.0), tmp_path / "run")
    before, after = weights(unbroken), weights(tmp_path / "run")
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {name for name in before if name.startswith("encoder")}
    train(from_model(cohort, unbroken, fixed_encoder=0.4), tmp_path / "thawed")
    assert not {name for name in before if torch.equal(before[name], weights(tmp_path / "thawed")[name])}


def test_a_resumed_run_needs_no_model_to_start_from(cohort, unbroken, tmp_path):
    """Its own weights are in the state, and its model may be elsewhere."""
    model = tmp_path / "start.safetensors"
    model.write_bytes((unbroken / "model.safetensors").read_bytes())
    given = from_model(cohort, model, steps=2)
    train(given, tmp_path / "run")
    model.unlink()
    longer = with_section(given, "training", steps=3)
    train(longer, tmp_path / "run", resume=True, override=True)
    assert read_config(tmp_path / "run").training.start_from == model.name
    assert load_model(tmp_path / "run").trained_on == load_model(unbroken).trained_on


def test_a_run_is_not_resumed_from_another_model(cohort, unbroken, run, tmp_path):
    given = from_model(cohort, unbroken, steps=1)
    train(given, tmp_path / "run")
    for other in (str(run), str(tmp_path / "nonsense")):
        changed = with_section(given, "training", start_from=other)
        with pytest.raises(ConfigError, match="start_from was"):
            train(changed, tmp_path / "run", resume=True, override=True)
    namesake = shutil.copytree(run, tmp_path / "another" / unbroken.name)
    changed = with_section(given, "training", start_from=str(namesake))
    with pytest.raises(ConfigError, match="another model"):
        train(changed, tmp_path / "run", resume=True, override=True)
    moved = shutil.copytree(unbroken, tmp_path / "elsewhere" / unbroken.name)
    same = with_section(given, "training", start_from=str(moved), steps=2)
    train(same, tmp_path / "run", resume=True, override=True)


def test_the_name_of_a_model_has_no_folder_of_this_machine(cohort, unbroken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(unbroken, tmp_path)
    train(from_model(cohort, relative, steps=1), tmp_path / "run")
    with safe_open(tmp_path / "run" / "model.safetensors", framework="np") as content:
        described = json.loads(content.metadata()["description"])
    assert described["started_from"]["model"] == unbroken.name


def test_a_run_does_not_change_its_start_when_resumed(cohort, unbroken, tmp_path):
    train(config(cohort, steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="start_from was None"):
        train(config(cohort, steps=1, training={"start_from": str(unbroken)}), tmp_path / "run", resume=True)


def test_the_model_tells_where_it_started_and_what_both_trained_on(cohort, unbroken, tmp_path, caplog):
    with caplog.at_level("WARNING"):
        train(with_section(from_model(cohort, unbroken, steps=1), "data", fold=1), tmp_path / "run")
    before, after = load_model(unbroken), load_model(tmp_path / "run")
    described = json.loads((tmp_path / "run" / "model.json").read_text())
    assert described["started_from"] == {"model": unbroken.name, "sha256": before.sha256}
    assert before.trained_on.images < after.trained_on.images
    assert len(after.trained_on.images) == 8
    assert f"2 of 2 held-out cases are training cases of {unbroken.name}" in caplog.text


def test_unknown_training_cases_stay_unknown(cohort, unbroken, tmp_path, monkeypatch, caplog):
    def forgetful(path):
        return dataclasses.replace(load_model(path), trained_on=None)

    monkeypatch.setattr(starting_weights, "load_model", forgetful)
    with caplog.at_level("WARNING"):
        train(from_model(cohort, unbroken, steps=1), tmp_path / "run")
    assert load_model(tmp_path / "run").trained_on is None
    assert "does not say which cases it was trained on" in caplog.text


def test_no_warning_of_cases_that_the_model_has_not_seen(caplog):
    origin = Origin("model", "", TrainedOn.of({"a": "0" * 64}))
    with caplog.at_level("WARNING"):
        warn_of_trained_on(origin, ["b"], {"b": "1" * 64})
    assert not caplog.records


def test_the_same_id_is_not_taken_for_the_same_case(caplog):
    origin = Origin("model", "", TrainedOn.of({"a": "0" * 64}))
    with caplog.at_level("WARNING"):
        warn_of_trained_on(origin, ["a", "b"], {"a": "1" * 64, "b": "0" * 64})
    assert "1 of 2 held-out cases are training cases of model, where this training starts" in caplog.messages[0]
    assert caplog.messages[0].endswith(": b")
    assert caplog.messages[1] == ("1 of 2 held-out cases have the id of a training case of model, but another image: a")


def test_a_missing_model_is_told_before_anything_is_written(cohort, tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        train(from_model(cohort, tmp_path / "missing"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_other_data_on_the_command_line(run, cohort, tmp_path, capsys):
    """A run can be repeated from its folder, wherever one stands."""
    options = ["--data.root", str(cohort), "--training.steps", "1", "--training.validations", "1"]
    fold = ["--data.fold", "1", "--data.folds", "4"]
    first = ["train", *options, *fold, "--training.start_from", str(run), "--run", str(tmp_path / "a" / "first")]
    assert main(first) == 0
    assert "encoder" in capsys.readouterr().err
    again = ["train", "--config", str(tmp_path / "a" / "first" / "config.yaml"), "--run", str(tmp_path / "second")]
    assert main(again) == 0
    assert read_config(tmp_path / "second").training.start_from == run.name
    assert same(weights(tmp_path / "second"), weights(tmp_path / "a" / "first"))


def test_a_model_is_found_beside_the_configuration_file(run, cohort, tmp_path, capsys):
    file = tmp_path / "config.yaml"
    (tmp_path / "start.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    file.write_text(
        f"data: {{root: {cohort}}}\ntraining: {{steps: 1, validations: 1, start_from: start.safetensors}}\n"
    )
    assert main(["train", "--config", str(file), "--run", str(tmp_path / "run")]) == 0
    assert main(["inspect", "--config", str(file), "--no-trial"]) == 0
    file.write_text(file.read_text().replace("start.safetensors", "lost.safetensors"))
    assert main(["train", "--config", str(file), "--run", str(tmp_path / "other")]) == ModelError.exit_code
    assert "lost.safetensors: holds no model" in capsys.readouterr().err


def test_a_fixed_encoder_needs_a_model():
    with pytest.raises(ConfigError, match="expected 0 without"):
        Config(training=TrainingConfig(fixed_encoder=0.5))
