"""Only an evaluation replaces the results of an evaluation; stopped at any write, it can be repeated."""

from pathlib import Path

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError
from attention_unet.evaluation import evaluate as evaluate_module
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.evaluation.score import score_cases
from attention_unet.files import lock
from attention_unet.scans.labels import Labels
from tests.conftest import save_nifti
from tests.evaluation.build import AFFINE, label_map, same_masks

RESULTS = ("metrics.csv", "summary.json", "calibration.csv", "attention.csv", "picture.png")
WRITES = 6  # files that an evaluation moves to their final paths


def test_results_never_replace_files_of_other_origin(tmp_path, capsys):
    call = same_masks(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "picture.png").write_bytes(b"mine")
    assert main(call) == 2
    told = "holds picture.png, which evaluate did not write, or whose record is damaged: move it"
    assert told in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["picture.png"]
    assert main([*call[:-1], str(tmp_path / "fresh")]) == 0
    for name in ("metrics.csv", "notes.html"):
        (tmp_path / "fresh" / "notes.html").write_text("<!DOCTYPE html>mine")
        before = (tmp_path / "fresh" / name).read_bytes()
        assert main(["report", str(tmp_path / "fresh"), "-o", str(tmp_path / "fresh" / name)]) == 2
        assert f"{name}: not a file of this program" in capsys.readouterr().err
        assert (tmp_path / "fresh" / name).read_bytes() == before
    assert main([*call[:-1], str(tmp_path / "again")]) == 0
    (tmp_path / "comparison").mkdir()
    (tmp_path / "comparison" / "comparison.png").write_bytes(b"mine")
    twice = ["compare", f"a={tmp_path / 'fresh'}", f"b={tmp_path / 'again'}", "-o", str(tmp_path / "comparison")]
    assert main(twice) == 2
    assert "comparison.png: not a file of this program" in capsys.readouterr().err
    (tmp_path / "comparison" / "comparison.png").unlink()
    assert main(twice) == main(twice) == 0
    (tmp_path / "comparison" / "comparison.csv").write_text("mine")
    assert main(twice) == 2
    assert "comparison.csv: not a file of this program" in capsys.readouterr().err


@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_an_evaluation_that_was_stopped_at_any_write_can_be_repeated(tmp_path, monkeypatch, number):
    """Stop before a file is moved to its final path, in a new folder and in that of another evaluation."""
    for folder, shift in (("p", 1), ("q", 2), ("r", 0), ("i", 0)):
        save_nifti(tmp_path / folder / "x.nii.gz", label_map(shift), AFFINE)
    for folder in "pq":
        save_nifti(tmp_path / folder / "attention" / "x_skip1.nii.gz", np.full((10, 10, 10), 0.5, np.float32), AFFINE)
        shares = np.full((10, 10, 10, 4), 0.25, np.float32)
        save_nifti(tmp_path / folder / "probabilities" / "x.nii.gz", shares, AFFINE)
    original, count = Path.replace, []

    def stopping(path, target):
        count.append(target)
        if len(count) == number:
            raise KeyboardInterrupt
        original(path, target)

    for output, masks in (("new", "q"), ("old", "q")):
        call = ["evaluate", "-r", str(tmp_path / "r"), "--images", str(tmp_path / "i"), "-o", str(tmp_path / output)]
        if output == "old":
            assert main([*call, "-p", str(tmp_path / "p")]) == 0
        count.clear()
        with monkeypatch.context() as stopped:
            stopped.setattr(Path, "replace", stopping)
            main([*call, "-p", str(tmp_path / masks)])
        assert len(count) == number
        left = {path.name for path in (tmp_path / output).glob("*")}
        assert left <= {"scored.json", *(path.name for path in count[:-1])}  # no result of the earlier evaluation
        if number > 3:  # scored.json, metrics.csv and summary.json are new: nothing of the earlier evaluation is left
            assert {path.name for path in (tmp_path / output).iterdir()} == {path.name for path in count[:-1]}
        assert main([*call, "-p", str(tmp_path / masks)]) == 0
        assert sorted(path.name for path in (tmp_path / output).iterdir()) == sorted([*RESULTS, "scored.json"])


def test_a_file_that_appears_during_an_evaluation_stays(tmp_path, monkeypatch):
    save_nifti(tmp_path / "m" / "x.nii.gz", label_map(), AFFINE)
    mask, output = tmp_path / "m" / "x.nii.gz", tmp_path / "out"
    output.mkdir()

    def score(*arguments):
        (output / "metrics.csv").write_text("mine")
        return score_cases(*arguments)

    monkeypatch.setattr(evaluate_module, "score_cases", score)
    with pytest.raises(ConfigError, match=r"holds metrics\.csv, which evaluate did not write"):
        evaluate_cases([Case("x", (mask,), mask)], {"x": mask}, output, Labels({"a": (1,)}, (1,)))
    assert (output / "metrics.csv").read_text() == "mine"


def test_of_two_evaluations_into_one_folder_the_second_is_refused(tmp_path, capsys, monkeypatch):
    call = same_masks(tmp_path)
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with lock.folder_lock(tmp_path / "out"):
        assert main(call) == 2
    assert "another process is writing here" in capsys.readouterr().err


def test_a_record_of_other_origin_stays(tmp_path, capsys):
    call = same_masks(tmp_path)
    (tmp_path / "out").mkdir()
    for content in ("mine", "[1]", '{"mine": 1}'):
        (tmp_path / "out" / "scored.json").write_text(content)
        assert main(call) == 2
        assert "holds scored.json, which evaluate did not write" in capsys.readouterr().err
        assert (tmp_path / "out" / "scored.json").read_text() == content


def test_what_an_earlier_evaluation_left_is_not_taken_for_this_one(tmp_path, capsys):
    call = same_masks(tmp_path, names="pri")
    assert main([*call, "--images", str(tmp_path / "i")]) == 0
    assert (tmp_path / "out" / "picture.png").exists()
    assert main(["report", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(call) == 0
    assert "report.html: shows an earlier evaluation" in capsys.readouterr().err
    assert not (tmp_path / "out" / "picture.png").exists()
