"""Complete small trainings."""

import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attention_unet.cli import main
from attention_unet.config import AttentionConfig, NetworkConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.splits import choose_split
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.model_file import load_model
from attention_unet.inference.settings import Settings
from attention_unet.training import monitor, validation
from attention_unet.training import train as module
from attention_unet.training.history import read_validations
from attention_unet.training.learner import Diverged
from attention_unet.training.train import train
from tests.conftest import DRAW, REPOSITORY, read_csv
from tests.training.build import command, config, rewrite, same, weights


def test_a_run_folder_holds_what_it_promises(unbroken):
    names = {path.name for path in unbroken.iterdir()}
    assert names == {
        "config.yaml", "paths.json", "plan.json", "splits.json", "model.safetensors", "model.json", "last.pt",
        "history.csv", "validations.csv", "curves.png", "slices.png", "tensorboard", "train.log",
    }  # fmt: skip
    for picture in ("curves.png", "slices.png"):
        assert (unbroken / picture).read_bytes().startswith(b"\x89PNG")
    rows = read_csv(unbroken / "history.csv")
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert {"loss", "dice", "dice Ventricle", "learning_rate", "patches_a_second", "minutes"} <= set(rows[0])
    split = json.loads((unbroken / "splits.json").read_text())
    for row in rows:
        of_cases = [each for each in read_validations(unbroken / "validations.csv") if each.step == int(row["step"])]
        assert {each.case for each in of_cases} == set(split["validation"])
        for name in ("Ventricle", "Nucleus", "Lesion"):
            dice = [each.dice for each in of_cases if each.class_name == name]
            assert np.nanmean(dice) == pytest.approx(float(row[f"dice {name}"]))
    assert (len(split["training"]), len(split["validation"])) == (6, 2)
    assert "6 cases to train on, 2 held out" in (unbroken / "train.log").read_text()


def test_tensorboard_shows_curves(cohort, tmp_path, caplog):
    train(config(cohort, steps=10), tmp_path / "run")
    advice = "train longer, or raise data.foreground_share or set data.balance_classes"
    assert f"Lesion: found in no held-out case: {advice}" in caplog.text
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    classes = {f"validation/dice {name}" for name in ("Ventricle", "Nucleus", "Lesion")}
    assert {"loss/training", "learning_rate", "patches_a_second", "validation/dice", *classes} <= set(tags["scalars"])
    assert {f"attention skip 1/{measure} Ventricle" for measure in ("inside", "outside", "auc")} <= set(tags["scalars"])
    assert 0 < events.Scalars("attention skip 1/inside Ventricle")[1].value < 1
    assert b"learning_rate:" in events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0]
    assert [event.step for event in events.Scalars("validation/dice")] == [5, 10]


@pytest.mark.parametrize(("seconds", "expected"), [(60, [2]), (0, [1, 2])])
def test_pictures_are_drawn_every_minute_and_at_the_end(cohort, tmp_path, monkeypatch, seconds, expected):
    validations = []
    monkeypatch.setattr(monitor.Monitor, "_draw", DRAW)
    monkeypatch.setattr(monitor, "DRAWN_EVERY", seconds)
    monkeypatch.setattr(monitor, "draw_training", lambda history, *_: validations.append(len(history)))
    train(config(cohort), tmp_path / "run")
    assert validations == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_weights_with_any_workers(cohort, tmp_path, unbroken, workers):
    train(config(cohort, data={"workers": workers}), tmp_path / "again")
    assert same(weights(tmp_path / "again"), weights(unbroken))


def test_what_the_caller_has_set_changes_nothing_and_stays(cohort, tmp_path, unbroken):
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    def reseed():
        torch.manual_seed(5), np.random.seed(5), random.seed(5)

    reseed()
    expected, environment = draw(), dict(os.environ)
    reseed()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            train(config(cohort), tmp_path / "run")
        assert torch.get_default_dtype() == torch.float64
        predicted = load_model(tmp_path / "run").predict(
            np.arange(504.0).reshape(9, 8, 7), Settings(attention=True), spacing_mm=(3, 3, 4)
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(weights(tmp_path / "run"), weights(unbroken))
    assert predicted.label_map.shape == (9, 8, 7)
    assert draw() == pytest.approx(expected)
    assert os.environ.keys() == environment.keys()


def test_another_seed_gives_other_weights(cohort, tmp_path, unbroken):
    train(config(cohort, training={"seed": 1}), tmp_path / "other")
    assert not same(weights(tmp_path / "other"), weights(unbroken))


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


def test_a_saved_configuration_repeats_the_run(cohort, unbroken, tmp_path, monkeypatch):
    again = module.read_config(unbroken)
    assert again.training.batch == 2  # planned values are written, so that other machines use them too
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATTENTION_UNET_DATA", raising=False)
    assert main(["train", "--config", str(unbroken / "config.yaml"), "--run", "again"]) == 0
    assert same(weights(tmp_path / "again"), weights(unbroken))
    assert (tmp_path / "again" / "plan.json").read_text() == (unbroken / "plan.json").read_text()


def test_a_configuration_of_a_run_is_read_as_strictly_as_one_to_train(unbroken, tmp_path):
    text = (unbroken / "config.yaml").read_text()
    rate = next(line for line in text.splitlines() if "learning_rate:" in line)
    (tmp_path / "config.yaml").write_text(text.replace(rate, "  learning_rate: 2e-3"))
    assert module.read_config(tmp_path).training.learning_rate == 0.002
    (tmp_path / "config.yaml").write_text(text.replace(rate, f"{rate}\n{rate}"))
    with pytest.raises(ConfigError, match=r"training\.learning_rate is given twice"):
        module.read_config(tmp_path)


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


def test_torchrun_trains_to_the_weights_of_one_process(cohort, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    subprocess.run([*launch, *command(cohort, tmp_path / "two")], env=environment, check=True, timeout=120)
    assert main(["train", *command(cohort, tmp_path / "one")[1:]]) == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=2e-4, rtol=1e-3)
    rows = [read_csv(tmp_path / run / "history.csv") for run in ("one", "two")]
    assert [len(r) for r in rows] == [2, 2]


@pytest.mark.parametrize("name", ["config.yaml", "splits.json", "subjects.csv", "history.csv"])
def test_files_of_other_origin_in_a_run_folder_stay(cohort, tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"has {name}, not written by a training: choose another folder"):
        train(config(cohort), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != ".attention_unet.lock"] == [name]
    assert (tmp_path / "run" / name).read_text() == "mine"


def test_no_advice_is_given_for_a_class_that_no_held_out_case_has(cohort, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(validation, "dice_by_class", lambda *_: [0.0, 0.0, 0.0])  # something is predicted, all wrong
    copy = shutil.copytree(cohort, tmp_path / "cohort")
    chosen = config(copy, steps=2)
    ids = [case.id for case in find_dataset(chosen.data).cases]
    for case in choose_split(chosen.data, ids, {}).validation:
        rewrite(copy / "labelsTr" / f"{case}.nii.gz", lambda label: np.where(label == 3, 0, label).astype(np.uint8))
    train(chosen, tmp_path / "run")
    assert "the class Lesion is in no held-out case: its Dice cannot be measured" in caplog.text
    assert " Nucleus, Ventricle: found in no held-out case: train longer" in caplog.text
    assert "Lesion, Nucleus" not in caplog.text
