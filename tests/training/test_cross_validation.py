"""Cross-validation on phantoms: resuming, evaluation of all folds, and prediction with all models."""

import json
import shutil

import pytest
import torch

from attention_unet.cli import main
from attention_unet.config import Config, DataConfig, TrainingConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.errors import ConfigError, ModelError
from attention_unet.inference import predict_files as predict_module
from attention_unet.inference import predict_folder
from attention_unet.inference.model_file import load_models
from attention_unet.inference.record import update_record
from attention_unet.machine import jobs
from attention_unet.machine.devices import Machine
from attention_unet.training import common_plan, cross_validation
from attention_unet.training.checkpoint import load_state, save_state
from attention_unet.training.common_plan import read_or_make_plan
from tests.report.build import facts_of
from tests.training.build import OPTIONS


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    """Return the folder of a cross-validation made in two calls."""
    where = tmp_path_factory.mktemp("cross") / "folds"
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(where), *OPTIONS]
    assert main([*call, "--only", "2,0"]) == 0
    first = json.loads((where / "summary.json").read_text())
    assert first["n_cases"] == 4
    kept = {path: path.read_bytes() for path in where.glob("fold*/model.safetensors")}
    assert main(call) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    return where


def test_every_case_is_predicted_by_the_fold_that_held_it_out(folder):
    held_out = [json.loads((folder / f"fold{f}" / "splits.json").read_text())["validation"] for f in range(4)]
    for fold, cases in enumerate(held_out):
        predictions = folder / f"fold{fold}" / "predictions"
        assert sorted(path.name for path in predictions.glob("*.nii.gz")) == sorted(f"{case}.nii.gz" for case in cases)
        (sha256,) = json.loads((predictions / "run.json").read_text())["models_sha256"]
        assert sha256 == json.loads((folder / f"fold{fold}" / "model.json").read_text())["sha256"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["n_cases"] == 8
    assert summary["missing_predictions"] == summary["trained_on"] == []
    assert (folder / "picture.png").exists()


def test_folds_and_classes_are_printed(folder, cohort, capsys):
    assert main(["cross-validate", "--data.root", str(cohort), "--run", str(folder), *OPTIONS, "--only", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Dice by fold" in printed
    for word in ("Ventricle", "Nucleus", "Lesion", "mean of classes"):
        assert word in printed


def test_its_report_shows_all_folds(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert "the report is in" in capsys.readouterr().err
    facts = facts_of(folder / "report.html")
    assert [run["name"] for run in facts["runs"]] == [f"fold{fold}" for fold in range(4)]
    assert len(facts["shown"]) == 8
    assert all(shown["channels"] for shown in facts["shown"].values())


def test_a_case_that_fails_scores_nothing_and_is_named(folder, cohort, tmp_path, monkeypatch, capsys):
    again = shutil.copytree(folder, tmp_path / "folds")
    case = json.loads((again / "fold1" / "splits.json").read_text())["validation"][0]
    (again / "fold1" / "predictions" / f"{case}.nii.gz").unlink()
    original = predict_module.predict_volume

    def failing(models, volume, settings, done):
        if volume.path.name.startswith(case):
            raise RuntimeError("no memory left")
        return original(models, volume, settings, done)

    monkeypatch.setattr(predict_module, "predict_volume", failing)
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(again), *OPTIONS, "--only", "1"]
    assert main(call) == 1
    assert "no memory left" in capsys.readouterr().err
    summary = json.loads((again / "summary.json").read_text())
    assert (summary["n_cases"], summary["missing_predictions"]) == (8, [case])


def test_only_what_is_missing_is_predicted_again(folder, cohort, tmp_path, monkeypatch):
    again = shutil.copytree(folder, tmp_path / "folds")
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(again), *OPTIONS]
    predicted = []
    original = predict_folder.predict_files
    monkeypatch.setattr(
        predict_folder, "predict_files", lambda cases, *a, **k: (predicted.extend(cases), original(cases, *a, **k))[1]
    )
    assert main(call) == 0
    assert predicted == []
    assert main([*call, "--tta", "--only", "0,1"]) == 0
    assert len(predicted) == 4
    assert json.loads((again / "summary.json").read_text())["n_cases"] == 4  # only folds predicted with TTA
    assert main([*call, "--tta"]) == 0
    assert len(predicted) == 8
    assert json.loads((again / "summary.json").read_text())["n_cases"] == 8


def test_cases_that_came_later_do_not_slip_into_earlier_folds(folder, cohort, tmp_path, capsys):
    other = shutil.copytree(cohort, tmp_path / "Other")
    description = json.loads((other / "dataset.json").read_text())
    description["training"].pop()
    (other / "dataset.json").write_text(json.dumps(description))
    capsys.readouterr()
    assert main(["cross-validate", "--data.root", str(other), "--run", str(folder), *OPTIONS]) == 2
    assert "the held-out cases changed" in capsys.readouterr().err


def test_processes_start_only_if_the_cases_can_be_split(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "run_jobs", lambda *_: pytest.fail("started"))
    ids = [case.id for case in find_dataset(DataConfig(root=str(cohort))).cases]
    halves = [{"train": ids[4:], "val": ids[:4]}, {"train": ids[:4], "val": ids[4:]}]
    (tmp_path / "splits.json").write_text(json.dumps(halves))
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(tmp_path / "folds"), *OPTIONS, "--jobs", "2"]
    assert main([*call, "--data.splits", str(tmp_path / "splits.json")]) == 2
    assert "holds 2 splits, but data.folds is 4: set data.folds to 2" in capsys.readouterr().err


def test_folds_of_other_configurations_are_not_mixed(folder, cohort, tmp_path, capsys):
    again = shutil.copytree(folder, tmp_path / "folds")
    shutil.rmtree(again / "fold1")
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(again), *OPTIONS, "--only", "1"]
    assert main([*call, "--training.learning_rate", "0.02"]) == 2
    error = capsys.readouterr().err
    assert "fold0: was trained with another configuration: training.learning_rate was 0.002, is 0.02: undo" in error
    assert "--override" not in error
    assert not (again / "fold1").exists()
    assert main([*call, "--training.seed", "1000"]) == 0  # a study gives each fold a seed of its own


def test_a_plan_is_kept_for_the_same_configuration_or_once_a_fold_is_trained(cohort, tmp_path):
    found = find_dataset(DataConfig(root=str(cohort)))

    def spacing(spacing_mm, **data):
        config = Config(
            data=DataConfig(root=str(cohort), spacing_mm=spacing_mm, **data), training=TrainingConfig(steps=4)
        )
        return read_or_make_plan(config, tmp_path, found).preprocessing.spacing_mm

    assert spacing([3, 3, 4]) == (3, 3, 4)
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "batch": 7}))
    assert spacing([3, 3, 4], fold=2, workers=1) == (3, 3, 4)  # a call for another fold
    assert json.loads((tmp_path / "plan.json").read_text())["batch"] == 7
    assert spacing([2, 2, 4]) == (2, 2, 4)
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold1" / "last.pt").touch()
    assert spacing([3, 3, 4]) == (2, 2, 4)  # training fold 1 further tells what changed


def test_splits_that_hold_out_a_case_twice_are_told_before_any_training(cohort, tmp_path, capsys):
    ids = [case.id for case in find_dataset(DataConfig(root=str(cohort))).cases]
    splits = [{"train": [i for i in ids if i not in out], "val": out} for out in (ids[:2], ids[1:3])]
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(tmp_path / "cv"), *OPTIONS]
    assert main([*call, "--data.splits", str(tmp_path / "splits.json"), "--data.folds", "2"]) == 2
    assert f"{ids[1]} is held out in folds 0 and 1" in capsys.readouterr().err
    assert not (tmp_path / "cv").exists()


def test_its_models_predict_together(folder, cohort, tmp_path):
    models = load_models([folder], torch.device("cpu"))
    assert len({model.sha256 for model in models}) == 4
    call = ["predict", "-i", str(cohort / "imagesTs"), "-o", str(tmp_path / "p"), "--tta"]
    assert main([*call, "-m", str(folder)]) == 0
    described = json.loads((tmp_path / "p" / "run.json").read_text())
    assert described["models_sha256"] == [model.sha256 for model in models]
    one = [*call, "-m", str(folder / "fold0"), "--resume"]
    assert main(one) == 2  # these predictions are of all models


def test_models_of_unfinished_folds_are_left_out(folder, tmp_path, caplog):
    again = shutil.copytree(folder, tmp_path / "folds")
    (again / "fold1" / "predictions" / "run.json").unlink()
    update_record(again / "fold3" / "predictions", {"complete": False})
    assert len(load_models([again], torch.device("cpu"))) == 2
    assert "fold1, fold3 not finished: left out" in caplog.text
    for fold in (0, 2):
        shutil.rmtree(again / f"fold{fold}" / "predictions")
    with pytest.raises(ModelError, match="fold0, fold1, fold2, fold3 not finished: repeat the same cross-val"):
        load_models([again], torch.device("cpu"))


def test_models_of_other_classes_do_not_mix(folder, cohort, tmp_path, capsys):
    description = json.loads((cohort / "dataset.json").read_text())
    other = shutil.copytree(cohort, tmp_path / "Other")
    description["labels"] = {"0": "background", "1": "A", "2": "B", "3": "C"}
    (other / "dataset.json").write_text(json.dumps(description))
    assert main(["train", "--data.root", str(other), "--run", str(tmp_path / "run"), *OPTIONS]) == 0
    capsys.readouterr()
    call = ["predict", "-i", str(cohort / "imagesTs"), "-o", str(tmp_path / "p")]
    assert main([*call, "-m", str(folder / "fold0"), "-m", str(tmp_path / "run")]) == 2
    assert "other classes or channels" in capsys.readouterr().err


def test_a_wrong_tolerance_is_told_before_any_training(cohort, tmp_path, capsys):
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(tmp_path / "folds"), *OPTIONS]
    assert main([*call, "--tolerance-mm", "-1"]) == 2
    assert "--tolerance-mm is -1.0: expected 0 or more" in capsys.readouterr().err
    assert not (tmp_path / "folds").exists()


def test_wrong_folds(cohort, tmp_path, capsys):
    for only in ("4", "x", ""):
        call = ["cross-validate", "--data.root", str(cohort), "--run", str(tmp_path / "r"), *OPTIONS, "--only", only]
        assert main(call) == 2
        assert f"folds are {only}: expected some from 0 to 3" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="folds are -1: expected some from 0 to 3, such as 0,2"):
        cross_validation.cross_validate(Config(DataConfig(root=str(cohort), folds=4)), tmp_path / "r", [-1])
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(tmp_path / "r"), *OPTIONS]
    assert main([*call, "--training.batch", "2", "--training.devices", "2"]) == 2
    assert "trains each fold in one process" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_unfinished_folds_do_not_decide_which_components_are_dropped(folder, cohort, tmp_path, monkeypatch):
    again = shutil.copytree(folder, tmp_path / "folds")
    state = load_state(again / "fold1" / "last.pt")
    state.loop.validations = 0
    save_state(again / "fold1" / "last.pt", state)
    (again / "fold2" / "last.pt").unlink()
    loaded, original = [], cross_validation.load_model
    monkeypatch.setattr(cross_validation, "load_model", lambda run, *a: (loaded.append(run.name), original(run, *a))[1])
    call = ["cross-validate", "--data.root", str(cohort), "--run", str(again), *OPTIONS, "--tta", "--only", "0"]
    assert main(call) == 0
    assert loaded == ["fold0", "fold3"]


def test_a_plan_for_a_cpu_is_not_kept_for_a_gpu(cohort, tmp_path, monkeypatch):
    config = Config(data=DataConfig(root=str(cohort)), training=TrainingConfig(steps=4, accelerator="cpu"))
    dataset = find_dataset(config.data)
    assert read_or_make_plan(config, tmp_path, dataset).architecture.channels[0] == 16
    monkeypatch.setattr(common_plan, "measure_machine", lambda _: Machine("cuda", 40 * 2**30, 8, True, 1))
    monkeypatch.setattr(common_plan, "choose_device", lambda _: torch.device("cuda"))
    assert read_or_make_plan(config, tmp_path, dataset).architecture.channels[0] == 32
