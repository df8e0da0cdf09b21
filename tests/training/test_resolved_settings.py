import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from attention_unet.cli import main
from attention_unet.cli.call import complete
from attention_unet.config import AugmentationConfig, Config, DataConfig, TrainingConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import ConfigError
from attention_unet.files.run_folder import read_paths
from attention_unet.training import resolved_settings as module
from attention_unet.training.checkpoint import load_state, save_state
from attention_unet.training.resolved_settings import (
    ResolvedSettings,
    resolve_settings,
    resume_settings,
    write_resolved_settings,
)
from tests.training.build import config, with_section


@pytest.fixture
def settings(cohort):
    return resolve_settings(config(cohort), find_dataset(DataConfig(root=str(cohort))))


def test_plain_values_come_back(settings):
    plain = json.loads(json.dumps(settings.to_plain()))
    again = ResolvedSettings.from_plain(plain)
    assert again.to_plain() == settings.to_plain()
    assert (again.split, again.plan) == (settings.split, settings.plan)


def test_what_is_written_names_no_folder_of_this_machine(cohort, settings, tmp_path):
    write_resolved_settings(tmp_path / "runs" / "a", settings, config(cohort))
    for file in (tmp_path / "runs" / "a").iterdir():
        assert str(cohort.parent) not in file.read_text()
        assert str(tmp_path) not in file.read_text()
    paths = json.loads((tmp_path / "runs" / "a" / "paths.json").read_text())
    assert (tmp_path / "runs" / "a" / paths["data.root"]).resolve() == cohort.resolve()
    written = yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())
    assert Config.from_plain(written).training == settings.config.training


def test_persons_of_a_start_that_was_stopped_do_not_stay(cohort, settings, tmp_path):
    persons = dict.fromkeys(settings.split.training, "one")
    write_resolved_settings(tmp_path, dataclasses.replace(settings, subjects=persons), config(cohort))
    assert (tmp_path / "subjects.csv").is_file()
    write_resolved_settings(tmp_path, settings, config(cohort))
    assert not (tmp_path / "subjects.csv").exists()


def test_the_same_goes_on_and_another_machine_may(cohort, settings, tmp_path):
    moved = config("elsewhere", data={"workers": 3, "cache": "there"}, training={"checkpoint_minutes": 1.0})
    assert resume_settings(settings, moved, False, tmp_path).plan == settings.plan


def test_every_change_is_named_and_some_can_be_accepted(cohort, settings, tmp_path):
    longer = with_section(settings.config, "training", steps=60, learning_rate=1e-4)
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.002, is 0\.0001.*--override") as caught:
        resume_settings(settings, longer, False, tmp_path)
    assert "training.steps was 6, is 60" in str(caught.value)
    assert resume_settings(settings, longer, True, tmp_path).config.training.steps == 60


@pytest.mark.parametrize("override", [False, True])
def test_what_was_built_into_a_run_stays(cohort, settings, tmp_path, override):
    other = with_section(settings.config, "training", batch=4, seed=9)
    with pytest.raises(
        ConfigError, match=r"batch was 2, is 4; training\.seed was 0, is 9: undo the change, or choose"
    ) as caught:
        resume_settings(settings, other, override, tmp_path)
    assert "--override" not in str(caught.value)


@pytest.mark.parametrize("change", [{"drop_channel": 0.3}, {"flip_axes": ["down-up"]}])
def test_what_the_model_says_of_its_augmentation_stays(settings, tmp_path, change):
    """Predictions follow the plan, which would not change."""
    other = dataclasses.replace(settings.config, augmentation=AugmentationConfig(**change))
    with pytest.raises(ConfigError, match=f"augmentation.{next(iter(change))} was .*: undo the change, or choose"):
        resume_settings(settings, other, True, tmp_path)


def test_a_state_of_another_network_or_of_no_run(cohort, run, tmp_path, capsys):
    run = shutil.copytree(run, tmp_path / "run")
    call = ["train", "--resume", "--run", str(run), "--data.root", str(cohort)]
    state = load_state(run / "last.pt")
    wide = json.loads(json.dumps(state.settings))
    wide["plan"]["architecture"]["channels"][0] *= 2
    invalid = "has no valid settings of a run"
    for settings, message in ((wide, "is of another network"), ({"plan": 1}, invalid), ({}, invalid)):
        save_state(run / "last.pt", dataclasses.replace(state, settings=settings))
        assert main(call) == 2
        text = capsys.readouterr().err
        assert message in text
        assert len(text.splitlines()) == 1 or "warning: " in text


def test_a_finished_run_is_trained_longer(cohort, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "again")
    (tmp_path / "again" / "paths.json").write_text(json.dumps({"data.root": str(cohort)}))
    call = ["train", "--resume", "--run", "again", "--training.steps", "126"]
    assert main(call) == 2
    assert main([*call, "--override"]) == 0
    rows = (tmp_path / "again" / "history.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [120, 126]
    assert "steps: 126" in (tmp_path / "again" / "config.yaml").read_text()


def test_a_configuration_edited_in_the_run_is_noticed(cohort, run, tmp_path, capsys):
    run = shutil.copytree(run, tmp_path / "run")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("learning_rate: 0.01", "learning_rate: 0.5"))
    assert main(["train", "--resume", "--run", str(run), "--data.root", str(cohort)]) == 2
    assert "training.learning_rate was 0.01, is 0.5" in capsys.readouterr().err


def test_a_configuration_knows_the_places_of_its_run_unless_it_is_told_others(tmp_path):
    for name in ("run", "data", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "paths.json").write_text(json.dumps({"data.root": "../data", "data.cache": "../cache"}))
    run = tmp_path / "run"
    (run / "config.yaml").write_text("training: {steps: 1}\n")
    options = [f"--data.root={run}/../data", f"--data.cache={run}/../cache"]
    resumed = complete(["train", "--resume", "--run", str(run)])
    assert resumed == ["train", *options, "--config", str(run / "config.yaml"), "--resume", "--run", str(run)]
    again = complete(["train", "--config", str(run / "config.yaml"), "--data.root", "elsewhere"])
    # The last one wins.
    assert again == ["train", *options, "--config", str(run / "config.yaml"), "--data.root", "elsewhere"]
    (tmp_path / "cache").rmdir()
    assert complete(["train", "--resume", "--run", str(run)])[1:3] == [options[0], "--config"]


def test_a_dataset_named_by_its_whole_path_is_told_as_a_place(cohort, tmp_path):
    given = config("", data={"root": None, "dataset": str(cohort)})
    settings = resolve_settings(given, find_dataset(DataConfig(root=str(cohort))))
    write_resolved_settings(tmp_path / "run", settings, given)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["dataset"] == cohort.name
    assert Path(read_paths(tmp_path / "run")["data.root"]).resolve() == cohort.parent.resolve()
    assert resume_settings(settings, given, False, tmp_path).plan == settings.plan


@pytest.mark.parametrize(
    ("config", "threads", "on_gpu", "told"),
    [
        (TrainingConfig(steps=5, precision="float32"), 99, False, "began with 99 threads"),
        (TrainingConfig(minutes=5, precision="float32"), 99, False, ""),  # never repeatable
        (TrainingConfig(steps=5, precision="float32"), 99, True, "was trained on a GPU so far"),
        (TrainingConfig(minutes=5, precision="bfloat16"), 99, False, "began in bfloat16, which is slow on this device"),
    ],
)
def test_a_run_that_continues_on_another_machine_is_told(monkeypatch, caplog, config, threads, on_gpu, told):
    monkeypatch.setattr(module, "choose_precision", lambda *_: torch.float32)
    before = SimpleNamespace(config=SimpleNamespace(training=config), threads=threads)
    state = SimpleNamespace(learner=SimpleNamespace(device_generator=torch.zeros(1) if on_gpu else None))
    module.warn_of_machine(before, state, torch.device("cpu"), Path("runs/mine"))
    assert len(caplog.messages) == bool(told)
    assert told in caplog.text
