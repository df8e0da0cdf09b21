import subprocess
import sys
import time

import pytest

from attention_unet.cli import main
from attention_unet.config import AugmentationConfig, Config, DataConfig, TrainingConfig
from attention_unet.errors import ConfigError
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"data": DataConfig(folds=1)}, "data.folds is 1: expected at least 2"),
        ({"data": DataConfig(fold=5)}, r"data\.fold is 5: expected -1 \(all cases\) or 0 to 4"),
        ({"data": DataConfig(patch=[8, 8])}, r"data\.patch is \[8, 8\]: expected three positive numbers"),
        ({"augmentation": AugmentationConfig(noise=1.5)}, r"augmentation\.noise is 1\.5: expected a probability"),
        ({"augmentation": AugmentationConfig(scale=[1.2, 0.9])}, r"augmentation\.scale"),
        ({"augmentation": AugmentationConfig(shift=-1.0)}, r"augmentation\.shift is -1\.0: expected 0 or more"),
        ({"augmentation": AugmentationConfig(bend=-1.0)}, r"augmentation\.bend is -1\.0: expected 0 or more"),
        ({"training": TrainingConfig(steps=3, minutes=2)}, "the budget is minutes and steps: expected only one"),
        ({"training": TrainingConfig(batch=0)}, "training.batch is 0: expected more than 0"),
        ({"training": TrainingConfig(warmup=1.0)}, "training.warmup is 1.0: expected 0 to below 1"),
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
        ("data: !!python/object/apply:os.getcwd []", "python/object"),
        ("", "Unexpected config"),
        ("training: [", "Problems parsing config"),
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


@pytest.mark.parametrize("arguments", [["train", "--training.batchsize", "3"], ["predict"], ["trian"], []])
def test_wrong_calls_are_exit_code_2(capsys, arguments):
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_every_shipped_configuration_is_valid():
    files = sorted((REPOSITORY / "configs").glob("*.yaml"))
    assert len(files) >= 3
    for file in files:
        assert main(["train", "--config", str(file), "--data.root", "/nowhere"]) == 2, file


def test_help_is_quick_and_imports_nothing_heavy():
    began = time.monotonic()
    code = "import sys; from attention_unet.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit(bool({'torch', 'monai', 'nibabel', 'scipy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout
    assert time.monotonic() - began < 2
