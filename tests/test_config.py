import itertools
import math
import subprocess
import sys
import time

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.cli.call import complete
from attention_unet.config import AugmentationConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.errors import ConfigError
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"data": DataConfig(folds=1)}, "data.folds is 1: expected 2 to 10000"),
        ({"data": DataConfig(fold=5)}, r"data\.fold is 5: expected -1 \(all cases\) or 0 to 4"),
        ({"data": DataConfig(patch=[8, 8])}, r"data\.patch is \[8, 8\]: expected 3 numbers, more than 0"),
        ({"augmentation": AugmentationConfig(noise=1.5)}, r"augmentation\.noise is 1\.5: expected 0 to 1"),
        ({"augmentation": AugmentationConfig(scale=[1.2, 0.9])}, r"augmentation\.scale"),
        ({"augmentation": AugmentationConfig(shift=-1.0)}, r"augmentation\.shift is -1\.0: expected 0 or more"),
        ({"augmentation": AugmentationConfig(bend=-1.0)}, r"augmentation\.bend is -1\.0: expected 0 or more"),
        ({"training": TrainingConfig(steps=3, minutes=2)}, "the budget is minutes and steps: expected only one"),
        ({"training": TrainingConfig(batch=0)}, "training.batch is 0: expected more than 0"),
        ({"training": TrainingConfig(warmup=1.0)}, "training.warmup is 1.0: expected 0 to below 1"),
        ({"training": TrainingConfig(minutes=math.inf)}, "training.minutes is inf: expected more than 0, at most"),
        ({"augmentation": AugmentationConfig(shift=math.nan)}, "augmentation.shift is nan: expected 0 or more"),
        ({"data": DataConfig(spacing_mm=[1.0, math.nan, 1.0])}, r"data.spacing_mm is .*: expected 3 .* 0.001 to 100"),
        ({"data": DataConfig(spacing_mm=[1.0, 200.0, 1.0])}, r"data.spacing_mm is .*: expected 3 .* 0.001 to 100"),
        ({"data": DataConfig(folds=None)}, r"data.folds is None: expected a whole number \(int\)"),
        (
            {"augmentation": AugmentationConfig(flip_axes=["left"])},
            r"flip_axes is \['left'\]: expected a list, each left-r",
        ),
        ({"training": TrainingConfig(precision="fp16")}, "precision is 'fp16': expected auto or bfloat16 or float32"),
        ({"network": NetworkConfig(convs=1000)}, "network.convs is 1000: expected 1 to 16"),
        ({"training": TrainingConfig(steps=2.5)}, r"training.steps is 2\.5: expected a whole number \(int\)"),
        ({"training": TrainingConfig(steps="2")}, "training.steps is '2': expected a whole number"),
        ({"training": TrainingConfig(seed=True)}, "training.seed is True: expected a whole number"),
        ({"training": TrainingConfig(learning_rate=np.float64(0.1))}, r"learning_rate is np.*: expected a number \(f"),
        ({"data": DataConfig(spacing_mm=(1, 1, 1))}, r"spacing_mm is \(1, 1, 1\): expected a list, each a number"),
        ({"augmentation": AugmentationConfig(flip_axes=("left-right",))}, "expected a list, each left-right or back-f"),
    ],
)
def test_values_out_of_range_are_named(section, message):
    with pytest.raises(ConfigError, match=message):
        Config(**section)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {stepz: 5}", "did you mean training.steps?"),
        ("trainin: {steps: 5}", "did you mean training.steps?"),
        ("training: {steps: many}", "training.steps"),
        ("training: {steps: 5, steps: 7}", "training.steps is given twice"),
        ("network: {dims: 4}", "network.dims"),
        ("training: {batch: 0}", "training.batch is 0"),
    ],
)
def test_wrong_files_are_one_clear_line_and_exit_code_2(tmp_path, capsys, text, message):
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    assert main(["train", "--config", str(tmp_path / "bad.yaml"), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no fields: expected some"),
        (b"[1, 2]", "has no fields: expected some"),
        (b"training: [", "line 1: expected the node content"),
        (b"data:\n  folds: 3\n  folds: 4\n", "line 3: data.folds is given twice"),
        (b"data: !!python/object/apply:os.getcwd []", "line 1: data is not a mapping of its fields"),
        (b"x: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor for the tag"),
        (b"data: &a {folds: 3}\nnetwork: *a\n", "line 2: *a is an alias: write its value out"),
        (b"data: {folds: !!int abc}", "a value is not valid (invalid literal for int"),
        (b"data: {folds: " + b"1" * 5000 + b"}", "a value is not valid (Exceeds the limit"),
        (b"data: {folds: !!timestamp abc}", "a value is not valid"),
        (b"training: {class_path: os.system}", "line 1: training.class_path would name code to run"),
        (
            b"attention:\n  skips:\n  - se: {reduction: 4, reduction: 8}",
            "attention.skips.0.se.reduction is given twice",
        ),
        (b"\xff\xfe\x00", "not a text in UTF-8"),
        (b"data: " + b"{a: " * 3000 + b"1" + b"}" * 3000, "is nested too deeply"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, capsys, content, message):
    (tmp_path / "bad.yaml").write_bytes(content)
    assert main(["train", "--config", str(tmp_path / "bad.yaml"), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'bad.yaml'}")
    assert message in error
    assert len(error.splitlines()) == 1


def test_lines_of_aliases_that_stand_for_more_than_any_memory_holds(tmp_path, capsys):
    text = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for last, name in itertools.pairwise("abcdefghij"):
        text += f"{name}: &{name} [{','.join([f'*{last}'] * 9)}]\n"
    (tmp_path / "bad.yaml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "bad.yaml")]) == 2
    assert "*a is an alias" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--training.batchsize", "3"],
        ["phantom", "--seed", "-1"],
        ["study", "."],
        ["study", ""],
        ["predict"],
        ["trian"],
        [],
    ],
)
def test_wrong_calls_are_exit_code_2(capsys, arguments):
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_every_shipped_configuration_is_valid(capsys):
    files = sorted((REPOSITORY / "configs").glob("*.yaml"))
    assert len(files) >= 3
    for file in files:
        assert main(["train", "--config", str(file), "--data.root", "/nowhere"]) == 2
        assert "no dataset here" in capsys.readouterr().err, file


def test_help_is_quick_and_imports_nothing_heavy():
    began = time.monotonic()
    code = "import sys; from attention_unet.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit(bool({'torch', 'monai', 'nibabel', 'scipy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--training.step", "3"], "did you mean training.steps?"),
        (["--data.subject-patern", "3"], "did you mean data.subject_pattern?"),
        (["--overide"], "did you mean override?"),
        (["--conf", "configs/phantom.yaml"], "did you mean config?"),
        (["--config", "configs/phantom.yaml", "--config", "configs/hippocampus.yaml"], "--config is given twice"),
    ],
)
def test_options_are_whole_and_a_configuration_is_one(capsys, options, message):
    assert main(["train", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_budget_of_null_does_not_replace_the_other_one():
    assert complete(["train", "--training.steps", "null"]) == ["train", "--training.steps", "null"]
    assert complete(["train", "--training.steps=5"])[-1] == "--training.minutes=null"
