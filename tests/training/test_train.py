"""Complete small trainings."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attention_unet.cli import main
from attention_unet.config import AttentionConfig, AugmentationConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.dataset import splits as splits_module
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.model_file import load_model
from attention_unet.training import fit as fit_module
from attention_unet.training import train as module
from attention_unet.training.learner import Diverged
from attention_unet.training.train import Interrupted, train
from tests.conftest import REPOSITORY

SMALL = {"folds": 4, "patch": [16, 16, 8], "spacing_mm": [3.0, 3.0, 4.0]}


def config(cohort, *, steps=6, data=None, training=None, **sections):
    return Config(
        data=DataConfig(**{**SMALL, "root": str(cohort), **(data or {})}),
        augmentation=AugmentationConfig(affine=0.5, noise=0.5, flip_axes=["left-right"]),
        network=sections.get("network", NetworkConfig(base_channels=4, max_levels=3)),
        attention=sections.get("attention", AttentionConfig()),
        training=TrainingConfig(steps=steps, validations=2, **(training or {})),
    )


def weights(run):
    return load_file(run / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def unbroken(cohort, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config(cohort), run)
    return run


def test_a_run_folder_holds_what_it_promises(unbroken):
    names = {path.name for path in unbroken.iterdir()}
    assert names == {
        "config.yaml", "places.json", "plan.json", "splits.json", "model.safetensors", "model.json", "last.pt",
        "history.csv", "curves.png", "tensorboard", "train.log",
    }  # fmt: skip
    assert (unbroken / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((unbroken / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert {"loss", "dice", "dice Ventricle", "learning_rate", "patches_a_second", "minutes"} <= set(rows[0])
    split = json.loads((unbroken / "splits.json").read_text())
    assert (len(split["training"]), len(split["validation"])) == (6, 2)
    assert "6 cases to train on, 2 held out" in (unbroken / "train.log").read_text()


def test_tensorboard_shows_curves_and_slices(cohort, tmp_path, caplog):
    train(config(cohort, steps=10), tmp_path / "run")
    assert "Lesion: found in no held-out case: train longer, or raise data.foreground_share" in caplog.text
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    classes = {f"validation/dice {name}" for name in ("Ventricle", "Nucleus", "Lesion")}
    assert {"loss/training", "learning_rate", "patches_a_second", "validation/dice", *classes} <= set(tags["scalars"])
    assert {f"attention level 1/{measure} Ventricle" for measure in ("inside", "outside", "auc")} <= set(
        tags["scalars"]
    )
    assert 0 < events.Scalars("attention level 1/inside Ventricle")[1].value < 1
    assert tags["distributions"] == ["attention/level 1"]
    assert b"learning_rate:" in events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0]
    assert tags["images"] == ["validation/slices"]
    assert [event.step for event in events.Scalars("validation/dice")] == [5, 10]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_weights_with_any_workers(cohort, tmp_path, unbroken, workers):
    train(config(cohort, data={"workers": workers}), tmp_path / "again")
    assert same(weights(tmp_path / "again"), weights(unbroken))


def test_another_seed_gives_other_weights(cohort, tmp_path, unbroken):
    train(config(cohort, training={"seed": 1}), tmp_path / "other")
    assert not same(weights(tmp_path / "other"), weights(unbroken))


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_resumed_run_ends_in_the_very_numbers_of_an_unbroken_one(cohort, tmp_path, unbroken, monkeypatch, stop_at):
    steps = []
    original = module.Monitor.record_step

    def interrupting(self, step, *rest):
        steps.append(step)
        original(self, step, *rest)
        if step == stop_at:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module.Monitor, "record_step", interrupting)
    with pytest.raises(Interrupted, match="--resume") as caught:
        train(config(cohort), tmp_path / "run")
    assert caught.value.exit_code == 130
    assert steps[-1] == stop_at
    monkeypatch.setattr(module.Monitor, "record_step", original)
    train(config(cohort), tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(unbroken))
    history = [
        [row["step"], row["dice"], row["learning_rate"], row["loss"]]
        for run in (tmp_path / "run", unbroken)
        for row in csv.DictReader((run / "history.csv").open())
    ]
    assert history[:2] == history[2:]


def test_a_run_is_not_overwritten_nor_resumed_in_another_way(cohort, tmp_path, unbroken):
    with pytest.raises(ConfigError, match="already has a run"):
        train(config(cohort), unbroken)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "model.safetensors").write_bytes(b"without a state to go on from")
    with pytest.raises(ConfigError, match=r"already has a run \(model\.safetensors\): choose another"):
        train(config(cohort), tmp_path / "kept")
    with pytest.raises(ConfigError, match=r"training\.batch was 2, is 4"):
        train(config(cohort, training={"batch": 4}), unbroken, resume=True)
    with pytest.raises(ConfigError, match="not a run folder"):
        train(config(cohort), tmp_path / "none", resume=True)


def test_a_start_that_failed_blocks_nothing(cohort, tmp_path):
    shutil.copytree(cohort, tmp_path / "data")
    scan = sorted((tmp_path / "data" / "imagesTr").iterdir())[5]
    good = scan.read_bytes()
    scan.write_bytes(good[:-3000])
    for _ in range(2):
        with pytest.raises(DataError, match=scan.name):
            train(config(tmp_path / "data", steps=2), tmp_path / "run")
    scan.write_bytes(good)
    train(config(tmp_path / "data", steps=2), tmp_path / "run")
    (tmp_path / "run" / "last.pt").unlink()
    with pytest.raises(ConfigError, match=r"has a model, but no last\.pt to continue from: restore it"):
        train(config(tmp_path / "data", steps=2), tmp_path / "run", resume=True)
    (tmp_path / "run" / "model.safetensors").unlink()  # as after a kill before the first save
    train(config(tmp_path / "data", steps=2), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.pt").is_file()


def test_every_case_is_checked_before_the_first_step_and_all_faults_are_told_at_once(cohort, tmp_path, unbroken):
    shutil.copytree(cohort, tmp_path / "data")
    split = json.loads((unbroken / "splits.json").read_text())
    names = [split["training"][0], split["validation"][0]]
    for name in names:
        (tmp_path / "data" / "imagesTr" / f"{name}.nii.gz").write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        train(config(tmp_path / "data"), tmp_path / "run")
    assert all(name in str(caught.value) for name in names)
    assert not list(tmp_path.rglob("last.pt"))


def test_a_finished_run_that_is_resumed_ends_at_once(cohort, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    train(config(cohort), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "history.csv").read_text() == (unbroken / "history.csv").read_text()
    assert same(weights(tmp_path / "run"), weights(unbroken))


def test_a_saved_configuration_repeats_the_run(cohort, unbroken, tmp_path, monkeypatch):
    again = module.read_config(unbroken)
    assert again.training.batch == 2  # planned values are written, so that other machines use them too
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATTENTION_UNET_DATA", raising=False)
    assert main(["train", "--config", str(unbroken / "config.yaml"), "--run", "again"]) == 0
    assert same(weights(tmp_path / "again"), weights(unbroken))
    assert (tmp_path / "again" / "plan.json").read_text() == (unbroken / "plan.json").read_text()


@pytest.mark.parametrize(
    "sections",
    [
        {"network": NetworkConfig(dims=2, base_channels=4, max_levels=3), "data": {"patch": None}},
        {"network": NetworkConfig(base_channels=4, max_levels=3, block="residual", deep_supervision=False)},
        {"attention": AttentionConfig(skips=["gate", "spatial"], levels=[0, 1])},
        {"attention": AttentionConfig(skips="identity")},
    ],
    ids=str,
)
def test_every_kind_of_network_trains_by_the_same_command(cohort, tmp_path, sections):
    train(config(cohort, steps=2, **sections), tmp_path / "run")
    assert weights(tmp_path / "run")


def test_training_on_all_cases_validates_on_none(cohort, tmp_path):
    train(config(cohort, steps=2, data={"fold": -1}), tmp_path / "run")
    assert weights(tmp_path / "run")
    assert "Dice - (Ventricle -, " in (tmp_path / "run" / "train.log").read_text()


def test_a_loss_that_is_no_number_stops_the_run(cohort, tmp_path):
    with pytest.raises(Diverged, match=r"not finite at step .*lower training\.learning_rate"):
        train(config(cohort, steps=30, training={"learning_rate": 1e30, "warmup": 0.0}), tmp_path / "run")


def test_wrong_configurations(cohort, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.batch is 3: expected a multiple of the 2 processes"):
        train(config(cohort, training={"batch": 3, "devices": 2}), tmp_path / "run")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="the device cuda is not available"):
            train(config(cohort, training={"accelerator": "cuda"}), tmp_path / "run")
    with pytest.raises(ConfigError, match="no dataset here"):
        train(config(tmp_path / "nowhere"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"no attention mechanism is called 'gat' \(did you mean gate\?\)"):
        train(config(cohort, attention=AttentionConfig(skips="gat")), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"levels are \[7\]: expected some of 0 to 2, the levels"):
        train(config(cohort, attention=AttentionConfig(levels=[7])), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def command(cohort, run, *more):
    file = run.parent / "config.yaml"
    chosen = dataclasses.asdict(config(cohort, training={"batch": 4, "precision": "float32"}))
    file.write_text(yaml.safe_dump(chosen))
    return [str(REPOSITORY / "train.py"), "--config", str(file), "--run", str(run), *more]


def test_torchrun_trains_to_the_weights_of_one_process(cohort, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    subprocess.run([*launch, *command(cohort, tmp_path / "two")], env=environment, check=True, timeout=120)
    subprocess.run([sys.executable, *command(cohort, tmp_path / "one")], env=environment, check=True, timeout=120)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=2e-4, rtol=1e-3)
    rows = [list(csv.DictReader((tmp_path / run / "history.csv").open())) for run in ("one", "two")]
    assert [len(r) for r in rows] == [2, 2]


def test_sigterm_saves_and_says_how_to_go_on(cohort, tmp_path):
    arguments = command(cohort, tmp_path / "run", "--training.steps", "100000")
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "run" / "train.log").exists():
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in text
    assert (tmp_path / "run" / "last.pt").is_file()
    assert not list((tmp_path / "run").glob(".attention_unet-partial*"))


def test_a_training_on_all_cases_decides_by_cases_it_has_not_seen_yet(cohort, tmp_path, monkeypatch):
    """Late cases are predicted after 80% of the budget, and trained on after that."""
    monkeypatch.setattr(splits_module, "LATE_FOLDS", 4)
    seen = []
    validate = fit_module.validate
    monkeypatch.setattr(
        fit_module, "validate", lambda *a, **k: (seen.append([case.id for case in a[2]]), validate(*a, **k))[1]
    )
    settings = config(cohort, steps=10, data={"fold": -1})
    train(settings, tmp_path / "run")
    late = next(cases for cases in seen if cases)
    assert len(late) == 2
    model = load_model(tmp_path / "run")
    assert all(gain.cases == 2 for gain in model.component_gains.values())
    assert len(model.trained_on.names) == 8
    monkeypatch.setattr(fit_module, "validate", validate)
    original = module.Monitor.record_step

    def interrupting(self, step, *rest):
        original(self, step, *rest)
        if step == 9:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module.Monitor, "record_step", interrupting)
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "broken")
    monkeypatch.setattr(module.Monitor, "record_step", original)
    train(settings, tmp_path / "broken", resume=True)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "broken"))


@pytest.mark.parametrize("name", ["config.yaml", "splits.json", "subjects.csv", "history.csv"])
def test_files_of_other_origin_in_a_run_folder_stay(cohort, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"has {name}, not written by a training: choose another folder"):
        train(config(cohort), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != ".attention_unet.lock"] == [name]
    assert (tmp_path / "run" / name).read_text() == "mine"
