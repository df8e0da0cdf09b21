"""Trainings that were stopped, and go on."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

import pytest

from attention_unet.config import Config, TrainingConfig
from attention_unet.dataset import splits as splits_module
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.model_file import load_model
from attention_unet.training import fit, validation_round
from attention_unet.training import locating as locating_module
from attention_unet.training import train as module
from attention_unet.training.checkpoint import LoopState
from attention_unet.training.claim import claim_folder
from attention_unet.training.interruption import Interrupted
from attention_unet.training.monitor import Monitor
from attention_unet.training.train import read_config, train
from tests.conftest import read_csv
from tests.training.build import command, config, same, weights, with_section


def train_until(step, configuration, run):
    """Train until Ctrl-C after a step."""
    original = Monitor.record_step

    def interrupting(self, now, *rest):
        original(self, now, *rest)
        assert now <= step
        if now == step:
            signal.raise_signal(signal.SIGINT)

    with (
        mock.patch.object(Monitor, "record_step", interrupting),
        pytest.raises(Interrupted, match="--resume") as caught,
    ):
        train(configuration, run)
    assert caught.value.exit_code == 130
    assert not isinstance(caught.value, Exception)  # a loop over trainings that goes on after errors stops, too


@pytest.mark.parametrize(("stop_at", "ahead"), [(1, 0), (3, 0), (4, 0), (1, 1), (3, 1)])
def test_a_resumed_run_ends_in_the_very_numbers_of_an_unbroken_one(
    cohort, tmp_path, unbroken, monkeypatch, caplog, stop_at, ahead
):
    caplog.set_level("INFO")
    monkeypatch.setitem(fit.AHEAD, "cpu", ahead)  # 1 on a GPU
    train_until(stop_at, config(cohort), tmp_path / "run")
    train(config(cohort), tmp_path / "run", resume=True)
    assert f"continuing after step {stop_at}" in caplog.text
    assert same(weights(tmp_path / "run"), weights(unbroken))
    history = [
        [row["step"], row["dice"], row["learning_rate"], row["loss"]]
        for run in (tmp_path / "run", unbroken)
        for row in read_csv(run / "history.csv")
    ]
    assert history[:2] == history[2:]
    one, other = ((run / "validations.csv").read_text() for run in (tmp_path / "run", unbroken))
    assert one == other


def test_a_resumed_run_keeps_its_locator(cohort, tmp_path, monkeypatch, locating):
    train(config(cohort), tmp_path / "unbroken")
    train_until(3, config(cohort), tmp_path / "run")
    train(config(cohort), tmp_path / "run", resume=True)
    assert any(name.startswith("locator.") for name in weights(tmp_path / "run"))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))
    assert load_model(tmp_path / "run").locator.factors == load_model(tmp_path / "unbroken").locator.factors


def test_a_run_that_stops_while_its_locator_trains_can_begin_again(cohort, tmp_path, unbroken, monkeypatch, locating):
    monkeypatch.setattr(locating_module, "load_patches", lambda *a: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="repeat the same command") as caught:
        train(config(cohort), tmp_path / "run")
    assert caught.value.exit_code == 143
    monkeypatch.undo()
    train(config(cohort), tmp_path / "run")
    assert same(weights(tmp_path / "run"), weights(unbroken))


def test_a_run_that_stops_while_its_locator_trains_goes_on_as_it_would_have(cohort, tmp_path, monkeypatch, locating):
    """Also if that locator is not safe: the plan for whole scans is made from what was configured."""
    monkeypatch.setattr(locating_module, "RECALL", 2.0)
    given = config(cohort, data={"spacing_mm": None})
    train(given, tmp_path / "unbroken")
    with monkeypatch.context() as stopped:
        stopped.setattr(locating_module, "load_patches", lambda *a: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(given, tmp_path / "run")
    of_run = read_config(tmp_path / "run").data
    assert of_run.spacing_mm is None
    resumed = dataclasses.replace(given, data=dataclasses.replace(of_run, root=given.data.root, cache=given.data.cache))
    train(resumed, tmp_path / "run", resume=True)
    assert load_model(tmp_path / "run").plan == load_model(tmp_path / "unbroken").plan
    assert same(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))


@pytest.mark.parametrize("recall", [-1.0, 2.0])
def test_a_locator_is_trained_once(cohort, tmp_path, monkeypatch, locating, recall):
    """Whether it is kept or not, a run that stops before its first step does not try again."""
    monkeypatch.setattr(locating_module, "RECALL", recall)
    with monkeypatch.context() as stopped:
        stopped.setattr(module, "fit", mock.Mock(side_effect=RuntimeError("stopped here")))
        with pytest.raises(RuntimeError, match="stopped here"):
            train(config(cohort), tmp_path / "run")
    monkeypatch.setattr(module, "train_locator", None)
    train(config(cohort), tmp_path / "run", resume=True)
    assert (load_model(tmp_path / "run").locator is None) == (recall > 1)


def test_a_resumed_network_has_the_time_that_its_locator_left(monkeypatch):
    config = Config(training=TrainingConfig(minutes=10))
    state = SimpleNamespace(
        learner=None,
        elapsed=330,
        reserve=0,
        loop=LoopState(locating=60),
        settings={"config": dataclasses.asdict(config)},
    )
    settings = SimpleNamespace(
        config=config, plan=SimpleNamespace(labels=SimpleNamespace(overlapping=False, ignore=None))
    )
    monkeypatch.setattr(module, "Learner", lambda *_: SimpleNamespace(restore=lambda _: None, step=5))
    _, budget, _ = module._begin_or_continue(None, settings, None, state, 0.0)
    assert budget.progress(5) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("recall", [-1.0, 2.0])
def test_a_signal_while_a_locator_is_judged_stops_the_training(cohort, tmp_path, monkeypatch, locating, recall):
    """Whether or not the locator is kept."""
    original, judged = locating_module.judge, []

    def judge(*arguments):
        if not judged:  # it is judged once for each margin
            signal.raise_signal(signal.SIGTERM)
        judged.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(locating_module, "RECALL", recall)
    monkeypatch.setattr(locating_module, "judge", judge)
    with pytest.raises(Interrupted) as caught:
        train(config(cohort), tmp_path / "run")
    assert caught.value.exit_code == 143
    assert (tmp_path / "run" / "last.pt").exists() == (recall < 0)


def test_a_signal_ends_the_preparation_of_a_second_plan_at_once(cohort, tmp_path, monkeypatch, locating):
    monkeypatch.setattr(locating_module, "RECALL", 2.0)
    original, calls = module._set_up, []

    def set_up(*arguments):
        calls.append(len(calls))
        if calls == [0, 1]:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(module, "_set_up", set_up)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have ignored it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(config(cohort), tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [0, 1]


def test_a_fold_without_its_locator_is_planned_from_what_was_configured(cohort, tmp_path, monkeypatch, locating):
    """Voxels and patch of other folds, planned for a small part, would see too little of whole scans."""
    monkeypatch.setattr(locating_module, "RECALL", 2.0)
    given = config(cohort, data={"spacing_mm": None})
    filled = with_section(given, "data", spacing_mm=[2.0, 2.0, 2.0])
    train(filled, tmp_path / "run", unplanned=given)
    assert load_model(tmp_path / "run").plan.preprocessing.spacing_mm != (2.0, 2.0, 2.0)
    train(given, tmp_path / "run", resume=True)  # as a repeated cross-validation does


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
    with pytest.raises(ConfigError, match="--override is given without --resume"):
        train(config(cohort), tmp_path / "none", override=True)
    before = (unbroken / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"has done 6 steps, and training\.steps is 4: expected at least as many"):
        train(config(cohort, steps=4), unbroken, resume=True, override=True)
    assert (unbroken / "config.yaml").read_bytes() == before


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


def test_a_start_that_was_killed_while_it_wrote_its_first_files_blocks_nothing(unbroken, tmp_path):
    shutil.copy(unbroken / "paths.json", tmp_path)
    assert claim_folder(tmp_path, resume=False) is None
    (tmp_path / "paths.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"has paths\.json, not written by a training"):
        claim_folder(tmp_path, resume=False)


def test_a_finished_run_that_is_resumed_ends_at_once(cohort, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    train(config(cohort), tmp_path / "run", resume=True)
    for name in ("history.csv", "validations.csv"):
        assert (tmp_path / "run" / name).read_text() == (unbroken / name).read_text()
    assert same(weights(tmp_path / "run"), weights(unbroken))


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 2])
def test_sigterm_saves_and_says_how_to_go_on(cohort, tmp_path, workers):
    """It is sent to all processes of the training, as torchrun, timeout and SLURM do."""
    arguments = command(cohort, tmp_path / "run", "--training.steps", "100000", "--data.workers", str(workers))
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "run" / "train.log").exists():
        time.sleep(0.1)
    time.sleep(2.0)
    os.killpg(process.pid, signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in text
    assert (tmp_path / "run" / "last.pt").is_file()
    assert not list((tmp_path / "run").glob(".attention_unet-partial*"))


def test_a_training_on_all_cases_decides_by_cases_it_has_not_seen_yet(cohort, tmp_path, monkeypatch):
    """Late cases are predicted after 80% of the budget, and trained on after that."""
    monkeypatch.setattr(splits_module, "LATE_FOLDS", 4)
    seen = []
    validate = validation_round.validate
    monkeypatch.setattr(
        validation_round, "validate", lambda *a, **k: (seen.append([case.id for case in a[2]]), validate(*a, **k))[1]
    )
    settings = config(cohort, steps=10, data={"fold": -1})
    train(settings, tmp_path / "run")
    late = next(cases for cases in seen if cases)
    assert len(late) == 2
    model = load_model(tmp_path / "run")
    assert all(gain.cases == 2 for gain in model.component_gains.values())
    assert len(model.trained_on.names) == 8
    monkeypatch.setattr(validation_round, "validate", validate)
    train_until(9, settings, tmp_path / "broken")
    train(settings, tmp_path / "broken", resume=True)
    assert same(weights(tmp_path / "run"), weights(tmp_path / "broken"))
