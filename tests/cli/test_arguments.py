"""Arguments of the command line: what they mean, and what is said of wrong ones."""

import pytest

from attention_unet.cli import main
from attention_unet.cli.call import build_parser, complete
from attention_unet.cli.commands import _name_of
from attention_unet.config import Config, DataConfig
from tests.conftest import REPOSITORY, SMALL

PREDICT = ["predict", "-i", "x", "-o", "o", "-m", "m"]


def test_a_budget_on_the_command_line_replaces_that_of_the_file(cohort, tmp_path):
    (tmp_path / "c.yaml").write_text("training: {minutes: 60}\n")
    places = ["--data.root", str(cohort), "--run", str(tmp_path / "run")]
    call = ["train", "--config", str(tmp_path / "c.yaml"), *places, *SMALL]
    call[call.index("--training.steps") + 1] = "2"
    assert main(call) == 0
    (tmp_path / "run" / "history.csv").unlink()
    # Nothing is left to do, and it knows its own.
    assert main(["train", "--resume", "--run", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "-i", "x.nii.gz", "-o", "out", "-m", "nowhere"], "nowhere: holds no model"),
        (["predict", "-i", "x.nii.gz", "-o", "out", "-m", "no:x:where"], "no:x:where: holds no model"),
        ([*PREDICT, "--memory-gb", "1e300"], "--memory-gb is 1e+300: expected"),
        ([*PREDICT, "--device", "tpu"], "the device tpu is not available"),
        ([*PREDICT, "--overlap", "1"], "overlap is 1.0: expected 0 to below 1"),
        ([*PREDICT, "--memory-gb", "0"], "--memory-gb is 0.0: expected more than 0"),
        (["predict", "-i", "x", "-o", "o"], "error: the following arguments are required: --model\n"),
        (["predict"], "error: the following arguments are required: --input, --output, --model\n"),
        (["explain"], "error: the following arguments are required: run\n"),
        (["compare", "-o", "out"], "error: the following arguments are required: evaluations\n"),
        ([*PREDICT, "--memory-gb", "a"], "--memory-gb is a: expected a number or null\n"),
        (["attention", "--init", "shut"], "error: --init is shut: expected 'open' or 'paper'\n"),
        (["train", "--data.patch", "[a,8]"], "data.patch is ['a', 8]: expected a list of whole numbers or null\n"),
        (["train", "--training.seed", "x"], "error: training.seed is x: expected a whole number\n"),
        (["train", "--data.locate", "3"], "error: data.locate is 3: expected true or false\n"),
        (["train", "--data.bids_suffixes", "T1w"], "bids_suffixes is T1w: expected a list of texts or null\n"),
        (["attention", "[" * 3000 + "]" * 3000], "error: "),
        (["evaluate", "-p", "nowhere", "-r", ".", "-o", "out"], "nowhere: not a folder"),
        (["evaluate", "-p", ".", "-r", ".", "-o", "out", "--tolerance-mm", "-1"], "--tolerance-mm is -1.0"),
        (["train", "--training.seed", "-1"], "training.seed is -1: expected 0 to"),
        (["train", "--resume", "--run", "nowhere"], "nowhere"),
        (
            ["fetch", "hippocampuss"],
            "no public dataset is called 'hippocampuss': there is hippocampus, prostate, heart, brain-tumour",
        ),
        (["train", "--data.dataset", "None such"], "no dataset here"),
        (
            ["train", "-d", "5", "-c", "3d_fullres"],
            "arguments: -d 5 -c 3d_fullres: docs/getting_started.md has a table",
        ),
        (["train", str(REPOSITORY)], f"{REPOSITORY}: name a dataset by --data.root {REPOSITORY}"),
        (["predict", "--atention-maps"], "did you mean attention-maps?"),
        (["inspect", "."], "no dataset here: expected folders of images and labels"),
        (["inspect", __file__], "is a file: name the folder of the dataset"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATTENTION_UNET_DATA", raising=False)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_runs_are_named_after_their_configuration_or_their_data(tmp_path, monkeypatch):
    monkeypatch.delenv("ATTENTION_UNET_DATA", raising=False)
    _, subparsers = build_parser()

    def name(*arguments, dataset=""):
        data = DataConfig(root=str(tmp_path / "Knees"), dataset=dataset)
        return _name_of(subparsers["train"].parse_args(arguments), Config(data=data))

    assert name() == "Knees"
    assert {name(dataset=path) for path in ("T1", "T1/", "../elsewhere/T1", "/data/T1")} == {"T1"}
    file = tmp_path / "short.yaml"
    file.write_text("training: {steps: 2}")
    assert name("--config", str(file)) == "short"


def test_a_configuration_in_a_folder_with_an_equals_sign(tmp_path):
    folder = tmp_path / "rate=0.1"
    folder.mkdir()
    (folder / "config.yaml").write_text("data: {splits: splits.json}\n")
    for call in (["--config", str(folder / "config.yaml")], [f"--config={folder / 'config.yaml'}"]):
        assert f"--data.splits={folder / 'splits.json'}" in complete(["train", *call])
