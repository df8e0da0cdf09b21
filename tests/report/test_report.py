"""Reports from the command line."""

import json
import shutil

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.evaluation.calibration import calibration_to_csv
from attention_unet.evaluation.rows import metrics_to_csv
from attention_unet.report.page import as_json
from attention_unet.report.training import describe_run, find_runs
from tests.report.build import STORED, build_evaluation, facts_of


def test_a_run_is_predicted_scored_and_shown(cohort, run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "phantom")
    assert main(["report", str(copied), "--root", str(cohort)]) == 0
    facts = facts_of(copied / "report.html")
    held_out = json.loads((run / "splits.json").read_text())["validation"]
    assert facts["title"] == "phantom"
    assert sorted(facts["shown"]) == sorted(held_out)
    assert sorted(one["case"] for one in facts["scores"]["cases"]) == sorted(held_out)
    assert facts["shown"][held_out[0]]["maps"][0]["name"] == "attention, skip 1, voxels of 5 x 5 x 6 mm"
    (trained,) = facts["runs"]
    assert trained["plan"]["patch"] == [24, 24, 12]
    assert trained["split"]["validation"] == held_out
    assert len(trained["history"]["loss"]) == 1
    assert "minutes: null" in trained["config"]
    made = (copied / "held-out" / "predictions" / f"{held_out[0]}.nii.gz").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["report", str(copied), "--root", str(cohort), "--cases", "1"]) == 0
    assert "report.html" in capsys.readouterr().err
    again = facts_of(copied / "report.html")
    assert list(again["shown"]) == [again["scores"]["cases"][0]["case"]]
    assert (copied / "held-out" / "predictions" / f"{held_out[0]}.nii.gz").stat().st_mtime_ns == made


def test_a_run_without_its_dataset_still_tells_how_it_was_trained(cohort, run, tmp_path, capsys, monkeypatch):
    copied = shutil.copytree(run, tmp_path / "phantom")
    (copied / "paths.json").write_text(json.dumps({"data.root": "../gone"}))
    (tmp_path / "data").symlink_to(cohort.parent)  # where datasets are looked for if nothing names a place
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(copied)]) == 0
    told = capsys.readouterr().err
    assert "no cases are shown" in told
    assert "gone" in told
    facts = facts_of(copied / "report.html")
    assert facts["scores"] is None
    assert facts["runs"][0]["history"]
    build_evaluation(copied, ["plain"]).rename(copied / "held-out")
    (copied / "model.safetensors").unlink()
    assert main(["report", str(copied)]) == 0
    assert "cases are shown as before" in capsys.readouterr().err
    assert facts_of(copied / "report.html")["scores"]["cases"][0]["case"] == "plain"


def test_a_file_that_is_gone_stops_no_other_case(cohort, run, tmp_path, capsys):
    copied, data = shutil.copytree(run, tmp_path / "phantom"), shutil.copytree(cohort, tmp_path / "Phantom")
    split = json.loads((run / "splits.json").read_text())
    (data / "imagesTr" / f"{split['training'][0]}.nii.gz").unlink()
    assert main(["report", str(copied), "--root", str(data)]) == 0
    assert sorted(facts_of(copied / "report.html")["shown"]) == sorted(split["validation"])
    gone, *others = split["validation"]
    (data / "labelsTr" / f"{gone}.nii.gz").unlink()
    assert main(["report", str(copied), "--root", str(data)]) == 1
    assert f"{gone}.nii.gz: missing" in capsys.readouterr().err
    assert sorted(facts_of(copied / "report.html")["shown"]) == sorted(others)


@pytest.mark.parametrize("mistake", [["--root", "nowhere"], ["--device", "abacus"]])
def test_a_mistake_in_the_call_leaves_an_earlier_page(run, tmp_path, capsys, mistake):
    copied = shutil.copytree(run, tmp_path / "phantom")
    page = '<meta name="generator" content="attention_unet">good'
    (copied / "report.html").write_text(page)
    assert main(["report", str(copied), *mistake]) == 2
    assert mistake[1] in capsys.readouterr().err
    assert (copied / "report.html").read_text() == page


def test_an_evaluation_finds_the_run_behind_it(cohort, run, tmp_path, capsys):
    predict = ["predict", "-i", str(cohort / "imagesTs"), "-o", str(tmp_path / "p"), "-m", str(run)]
    assert main(predict) == 0
    evaluate = ["evaluate", "-p", str(tmp_path / "p"), "-r", str(cohort / "labelsTs"), "-o", str(tmp_path / "e")]
    assert main([*evaluate, "--images", str(cohort / "imagesTs")]) == 0
    assert main(["report", str(tmp_path / "e"), "-o", str(tmp_path / "page.html")]) == 0
    facts = facts_of(tmp_path / "page.html")
    assert [run["name"] for run in facts["runs"]] == ["phantom"]
    assert facts["runs"][0]["history"]
    assert all(shown["channels"] for shown in facts["shown"].values())
    assert facts["channels"] == ["MRI"]
    record = json.loads((tmp_path / "p" / "run.json").read_text())
    other = record | {"models_sha256": ["of another"]}
    (tmp_path / "p" / "run.json").write_text(json.dumps(other))
    assert find_runs(tmp_path / "p") == []
    assert main(["report", str(tmp_path / "e"), "--run", str(run), "-o", str(tmp_path / "page.html")]) == 0
    facts = facts_of(tmp_path / "page.html")
    assert ([run["name"] for run in facts["runs"]], facts["channels"]) == (["phantom"], [])
    capsys.readouterr()


def test_a_case_that_cannot_be_shown_is_told_and_stops_no_other(tmp_path, capsys):
    evaluation = build_evaluation(tmp_path)
    (tmp_path / "p" / "plain.nii.gz").write_bytes(b"no volume")
    (tmp_path / "i" / "turned.nii.gz").unlink()
    assert main(["report", str(evaluation)]) == 1
    printed = capsys.readouterr().err
    assert "failed: plain: " in printed
    assert "turned is shown without its scan" in printed
    facts = facts_of(evaluation / "report.html")
    assert sorted(facts["shown"]) == sorted(set(STORED) - {"plain"})
    assert "plain.nii.gz" in facts["failed"]["plain"]


def test_references_that_are_gone_are_told_once(tmp_path, capsys):
    evaluation = build_evaluation(tmp_path)
    (tmp_path / "r").rename(tmp_path / "moved")
    assert main(["report", str(evaluation)]) == 1
    printed = capsys.readouterr().err
    assert printed.count("failed: ") == printed.count("3 cases: ") == 1
    assert "missing: restore it, or evaluate again" in printed
    facts = facts_of(evaluation / "report.html")
    assert (facts["shown"], len(facts["scores"]["cases"])) == ({}, 3)


def test_calibration_is_shown_where_it_was_worked_out(tmp_path):
    evaluation = build_evaluation(tmp_path, ["plain"])
    bins = np.array([[1, 3], [0.1, 2.7], [0, 3]])  # voxels, sums of probability, true voxels
    (evaluation / "calibration.csv").write_text(calibration_to_csv({"block": bins}))
    assert main(["report", str(evaluation)]) == 0
    calibration = facts_of(evaluation / "report.html")["scores"]["calibration"]
    few, many = {"voxels": 1, "probability": 0.1, "share": 0}, {"voxels": 3, "probability": 0.9, "share": 1}
    assert calibration == {"block": [few, many]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: not a folder"),
        (["r"], "expected the folder of a run, or one that"),
        (["e", "--cases", "-1"], "--cases is -1: expected 0 or more"),
        (["e", "--run", "e"], "holds no config.yaml: expected the folder of a run"),
    ],
)
def test_wrong_calls_are_told(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    build_evaluation(tmp_path, ["plain"])
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_damaged_files_are_told(tmp_path, capsys):
    evaluation = build_evaluation(tmp_path, ["plain"])
    (evaluation / "explanation.json").write_text("{}")
    for name, content, message in (
        ("scored.json", '{"labels": 3}', "scored.json: lacks 'cases'"),
        ("summary.json", "{", "is not readable JSON"),
        ("summary.json", '{"classes": {}}', "summary.json: lacks 'foreground'"),
        ("explanation.json", '{"cases": []}', "explanation.json: lacks model_sha256, sentences, shares"),
        ("attention.csv", "a,b\n1,2\n", "not a table of attention"),
        ("attention.csv", "case,class,place,inside,outside,auc\na,a,skip 1,inf,0,1\n", "not a table of attention (a v"),
        ("calibration.csv", "a,b\n1,2\n", "not a table of calibration"),
        ("calibration.csv", "class,voxels,probability,share\na,1,nan,1\n", "not a table of calibration (a value is"),
        ("metrics.csv", "a,b\n1,2\n", "not a table of metrics"),
        ("metrics.csv", metrics_to_csv([]), "metrics.csv and scored.json list different cases"),
    ):
        file = evaluation / name
        kept = file.read_text() if file.exists() else ""
        file.write_text(content)
        assert main(["report", str(evaluation)]) == 1
        assert message in capsys.readouterr().err
        file.write_text(kept)
        if not kept or name == "explanation.json":
            file.unlink()
    assert main(["report", str(evaluation)]) == 0


def test_a_damaged_run_is_told_as_far_as_it_is_whole(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "phantom")
    for name, content in (
        ("history.csv", "minutes,loss,dice\n1,x,y\n"),
        ("plan.json", '{"channels": 3}'),
        ("splits.json", '{"training": []}'),
    ):
        (copied / name).write_text(content)
    facts = describe_run(copied)
    assert (facts["history"], facts["plan"], facts["split"], facts["attention"]) == ({}, None, None, None)
    assert facts["config"]
    (copied / "history.csv").write_text("minutes,dice\n1,0.5\n")
    assert describe_run(copied)["history"] == {}


def test_no_text_ends_the_data_early():
    assert "<" not in as_json({"</script>": "<!--<script>"})
    assert json.loads(as_json({"</script>": "<!--"})) == {"</script>": "<!--"}
