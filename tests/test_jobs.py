"""Commands that run in several processes give what they give in one."""

import json

import pytest
import torch

from attention_unet.cli import main
from tests.conftest import SMALL


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Let each process use one thread, because the last bits of results depend on their number."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_masks_of_two_processes_are_those_of_one(cohort, run, tmp_path):
    call = ["predict", "-i", str(cohort / "imagesTr"), "-m", str(run), "-o"]
    assert main([*call, str(tmp_path / "two"), "--jobs", "2"]) == 0
    assert main([*call, str(tmp_path / "one")]) == 0
    for mask in (tmp_path / "one").glob("*.nii.gz"):
        assert (tmp_path / "two" / mask.name).read_bytes() == mask.read_bytes()
    two, one = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("two", "one"))
    assert two["complete"]
    assert two["cases"].keys() == one["cases"].keys()
    assert (tmp_path / "two" / "volumes.csv").read_text() == (tmp_path / "one" / "volumes.csv").read_text()


def test_what_fails_in_a_part_fails_the_call(cohort, run, tmp_path, capsys):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    assert main(["predict", "-i", str(scans), "-m", str(run), "-o", str(tmp_path / "masks"), "--jobs", "2"]) == 1
    assert "failed: broken: " in capsys.readouterr().err


@pytest.mark.long
def test_folds_at_once_give_the_scores_of_folds_in_a_row(cohort, tmp_path, capsys):
    call = ["cross-validate", "--data.root", str(cohort), *SMALL, "--training.steps=4", "--run"]
    assert main([*call, str(tmp_path / "two"), "--jobs", "2"]) == 0
    assert "Dice by fold" in capsys.readouterr().out
    assert main([*call, str(tmp_path / "one")]) == 0
    two, one = (tmp_path / name / "metrics.csv" for name in ("two", "one"))
    assert two.read_text() == one.read_text()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--jobs", "0"], "--jobs is 0: expected 1 or more"),
        (["--jobs", "2", "--part", "1/2"], "--jobs and --part: expected one of them"),
    ],
)
def test_mistakes(tmp_path, capsys, options, text):
    assert main(["predict", "-i", "scans", "-m", "hippocampus", "-o", str(tmp_path), *options]) == 2
    assert text in capsys.readouterr().err
