"""Changes of the data between two calls are detected."""

import json
import shutil
from pathlib import Path

import pytest

from attention_unet.cli import main
from attention_unet.errors import ConfigError, DataError
from attention_unet.training.train import train
from tests.training.build import OPTIONS, config, rewrite, with_section


@pytest.fixture
def data(cohort, tmp_path):
    return shutil.copytree(cohort, tmp_path / "data")


def change(file, voxel):
    def changed(array):
        array[array.shape[0] // 3 : 2 * array.shape[0] // 3] = voxel
        return array

    rewrite(file, changed)


def split_of(run):
    return json.loads((run / "splits.json").read_text())


def test_files_that_changed_before_a_resume_are_refused(data, tmp_path):
    settings = config(data, training={"seed": 3})
    train(settings, tmp_path / "run")
    case = split_of(tmp_path / "run")["training"][0]
    for folder, voxel in (("labelsTr", 0), ("imagesTr", 1e3)):
        file = next((data / folder).glob(f"{case}*"))
        before = file.read_bytes()
        change(file, voxel)
        with pytest.raises(
            DataError, match=f"{case}: image, label or list of annotated classes changed since the run began"
        ):
            train(with_section(settings, "training", steps=8), tmp_path / "run", resume=True, override=True)
        file.write_bytes(before)
    train(with_section(settings, "training", steps=8), tmp_path / "run", resume=True, override=True)


def test_classes_that_swapped_names_before_a_resume_are_refused(data, tmp_path, capsys):
    settings = config(data)
    train(settings, tmp_path / "run")
    file = data / "dataset.json"
    described = json.loads(file.read_text())
    described["labels"] |= {"1": described["labels"]["2"], "2": described["labels"]["1"]}
    file.write_text(json.dumps(described))
    with pytest.raises(DataError, match="the classes changed since the run began"):
        train(with_section(settings, "training", steps=8), tmp_path / "run", resume=True, override=True)
    assert main(["report", str(tmp_path / "run"), "--root", str(data)]) == 1
    assert "the classes changed since the run began" in capsys.readouterr().err


def test_subjects_that_a_resumed_run_splits_are_refused(data, tmp_path):
    settings = config(data)
    train(settings, tmp_path / "run")
    split = split_of(tmp_path / "run")
    cases = [*split["training"], *split["validation"]]
    people = {case: case for case in cases} | {split["training"][0]: "anna", split["validation"][0]: "anna"}
    (data / "subjects.csv").write_text("case,subject\n" + "".join(f"{k},{v}\n" for k, v in people.items()))
    with pytest.raises(ConfigError, match="anna: trained on and held out"):
        train(with_section(settings, "training", steps=8), tmp_path / "run", resume=True, override=True)


def test_files_that_changed_between_two_folds_are_refused(data, tmp_path, capsys):
    call = ["cross-validate", "--data.root", str(data), "--run", str(tmp_path / "folds"), *OPTIONS]
    assert main([*call, "--only", "0"]) == 0
    case = split_of(tmp_path / "folds" / "fold0")["validation"][0]
    change(data / "labelsTr" / f"{case}.nii.gz", 0)
    capsys.readouterr()
    assert main([*call, "--only", "1"]) == 1
    assert f"{case}: image, label or list of annotated classes changed since the run began" in capsys.readouterr().err
    assert not (tmp_path / "folds" / "fold1" / "last.pt").exists()


def test_folds_that_found_different_files_are_refused(data, tmp_path, capsys):
    """Two calls at the same time can produce such folds."""
    call = ["cross-validate", "--data.root", str(data), *OPTIONS, "--run"]
    assert main([*call, str(tmp_path / "folds"), "--only", "0"]) == 0
    case = split_of(tmp_path / "folds" / "fold0")["validation"][0]
    change(data / "labelsTr" / f"{case}.nii.gz", 0)
    assert main([*call, str(tmp_path / "other"), "--only", "1"]) == 0
    shutil.copytree(tmp_path / "other" / "fold1", tmp_path / "folds" / "fold1")
    capsys.readouterr()
    assert main([*call, str(tmp_path / "folds"), "--only", "2"]) == 1
    assert f"{case}: image or label differs from that of another fold" in capsys.readouterr().err


def test_masks_of_other_origin_are_refused_before_a_fold_is_trained(data, tmp_path, capsys):
    (tmp_path / "folds" / "fold1" / "predictions").mkdir(parents=True)
    (tmp_path / "folds" / "fold1" / "predictions" / "phantom_000.nii.gz").write_bytes(b"mine")
    assert main(["cross-validate", "--data.root", str(data), "--run", str(tmp_path / "folds"), *OPTIONS]) == 2
    assert "holds phantom_000.nii.gz, which run.json does not record" in capsys.readouterr().err
    assert not (tmp_path / "folds" / "fold0").exists()


def test_cases_that_were_added_are_not_used_and_named(cohort, tmp_path, caplog):
    shutil.copytree(cohort, tmp_path / "data")
    file = tmp_path / "data" / "dataset.json"
    described = json.loads(file.read_text())
    late = described["training"].pop()
    file.write_text(json.dumps(described))
    train(config(tmp_path / "data", steps=2), tmp_path / "run")
    described["training"].append(late)
    file.write_text(json.dumps(described))
    assert "added" not in caplog.text
    train(config(tmp_path / "data", steps=2), tmp_path / "run", resume=True)
    name = Path(late["image"]).name.removesuffix(".nii.gz")
    assert f"1 case added since the run began: not used: {name}; start a new run" in caplog.text
