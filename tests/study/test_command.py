"""The subcommand study, and its file."""

import re
import shutil
import sys

import pytest
import yaml

from attention_unet.cli import main
from attention_unet.cli.study_file import read_study, write_new
from attention_unet.study.design import Cell
from attention_unet.training.learner import Diverged
from attention_unet.training.trial import Trial
from tests.conftest import REPOSITORY
from tests.study.build import BASE

STUDY = {
    "question": "Does it?",
    "config": "base.yaml",
    "arms": {"none": {"attention.skips": "identity"}, "both": {"attention.skips": ["se", {"sse": {}}]}},
    "settings": {"training.steps": 2, "training.validations": 1, "network.norm": "group"},
    "folds": [1],
    "hypotheses": [{"arm": "both", "against": "none", "expect": "equivalent"}],
}


@pytest.fixture
def file(cohort, tmp_path):
    base = BASE | {"data": BASE["data"] | {"root": str(cohort)}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    return write(tmp_path)


def write(folder, **changes):
    (folder / "file.yaml").write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return folder / "file.yaml"


def test_a_study_is_planned_listed_run_in_parts_and_reported(file, capsys):
    assert main(["study", str(file), "--plan"]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"^none: 1 training of 2 steps of .* s, 1\.00 \(1\.00 to 1\.00\) times the first arm's in the same turn$",
        text,
        re.M,
    )
    assert re.search(r"^2 trainings: \d+ s on this machine, and time to validate and predict$", text, re.M)
    assert "both against none, 1 pair of trainings: interval cannot be said for a single fold" in text
    costs = (file.parent / "file" / "costs.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in costs] == ["arm", "none", "both"]
    assert main(["study", str(file), "--list"]) == 0
    commands = capsys.readouterr().out.splitlines()
    names = [cell.name for cell in read_study(file).cells()]
    assert commands == [f"attention-unet study {file} --only {n}  # {name}" for n, name in enumerate(names)]
    assert not (file.parent / "file" / "study.json").exists()
    assert main(["study", str(file), "--report"]) == 2
    assert "file: has no study.json: no training was started: run the study first" in capsys.readouterr().err
    assert main(["study", str(file), "--record"]) == 0
    assert "the study is recorded in " in capsys.readouterr().err
    assert not (file.parent / "file" / "cells").exists()
    assert main(commands[1].partition("  #")[0].split()[1:]) == 0
    assert "left" not in capsys.readouterr().err
    assert main(["study", str(file), "--report"]) == 0
    assert "both against none: no result yet." in capsys.readouterr().out
    assert main(["study", str(file), "--plan", "--amend", "a slip"]) == 2
    assert "--amend and --plan: expected --amend alone" in capsys.readouterr().err
    assert main(["study", str(file), "--report", "--only", "1"]) == 2
    assert "--only and --report: expected one of them, or none" in capsys.readouterr().err
    assert main(["study", str(file)]) == 0
    text = capsys.readouterr()
    assert "1 training each on 1 fold: too few trainings or persons." in text.out
    assert "training 0: " in text.err
    assert len(list((file.parent / "file" / "cells").glob("*.csv"))) == 2
    assert main(["study", str(file), "--only", "0", "--jobs", "2"]) == 2
    assert "--jobs and --only: expected one of them" in capsys.readouterr().err
    assert main(["study", str(file), "--only", "2"]) == 2
    assert "--only is 2: expected a training from 0 to 1" in capsys.readouterr().err
    write(file.parent, margin=0.01)
    assert main(["study", str(file), "--report"]) == 2
    assert "margin: 0.005 \N{RIGHTWARDS ARROW} 0.01" in capsys.readouterr().err
    assert main(["study", str(file), "--report", "--amend", "a slip"]) == 0
    assert "Amended on " in (file.parent / "file" / "study.md").read_text()


@pytest.mark.parametrize("resumed", [False, True])
def test_the_time_left_is_that_of_trainings_that_begin_here(file, monkeypatch, capsys, resumed):
    first = read_study(file).cells()[0]
    assert main(["study", str(file), "--record"]) == 0
    if resumed:
        (file.with_suffix("") / "runs" / first.group / f"fold{first.fold}").mkdir(parents=True)
    monkeypatch.setattr("attention_unet.study.cells.run_cell", lambda *_: None)
    capsys.readouterr()
    assert main(["study", str(file)]) == 0
    text = capsys.readouterr().err
    assert "1 training left" in text
    assert ("about 0 s" in text) == (not resumed)


def test_a_training_that_diverges_stops_no_other(file, monkeypatch, capsys):
    begun = []

    def diverges(config, *_, **__):
        begun.append(config.attention.skips)
        raise Diverged("step 7: the gradient is not finite")

    monkeypatch.setattr("attention_unet.study.cells.cross_validate", diverges)
    assert main(["study", str(file)]) == 1
    assert len(begun) == 2
    told = capsys.readouterr()
    assert told.err.count("step 7: the gradient is not finite") == 2
    assert "both against none: no result yet." in told.out
    assert main(["study", str(file), "--only", "0"]) == 1
    monkeypatch.setattr("attention_unet.machine.jobs.run_jobs", lambda *_: 1)
    assert main(["study", str(file), "--jobs", "2"]) == 1
    assert "both against none: no result yet." in capsys.readouterr().out
    monkeypatch.setattr("attention_unet.machine.jobs.run_jobs", lambda *_: 130)  # stopped
    assert main(["study", str(file), "--jobs", "2"]) == 130
    assert "both against none" not in capsys.readouterr().out


def test_a_new_study_of_a_dataset(cohort, tmp_path, capsys, monkeypatch):
    file = tmp_path / "mine.yaml"
    monkeypatch.chdir(cohort)
    monkeypatch.setattr("attention_unet.study.costs.try_step", lambda config, plan: Trial(2, 0.36, None))
    assert main(["study", str(file), "--new", "."]) == 0
    assert "15 trainings: 3 h 0 min on this machine" in capsys.readouterr().out
    study = read_study(file)
    assert list(study.arms) == ["none", "gate", "gate-displaced"]
    assert study.arms["gate-displaced"].attention.skips == {"displaced": "gate"}
    assert study.arms["none"].data.dataset == cohort.name
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["costs.csv"]
    assert main(["study", str(file), "--new", "."]) == 2
    assert "mine.yaml: exists: remove it" in capsys.readouterr().err
    assert main(["study", "other.yaml", "--new", "nothing"]) == 2
    assert "no dataset here" in capsys.readouterr().err


def test_arms_differ_in_their_fields_only(file):
    study = read_study(file)
    assert study.arms["both"].attention.skips == ["se", {"sse": {}}]
    assert {config.training.steps for config in study.arms.values()} == {2}
    assert {config.training.minutes for config in study.arms.values()} == {None}
    assert {config.network.norm for config in study.arms.values()} == {"group"}
    assert study.arms["none"].data.patch == [16, 16, 8]
    write(file.parent, seeds={"none": [0, 1], "default": [1]}, persons=[3, "all"])
    study = read_study(file)
    assert (study.seeds, study.persons) == ({"none": [0, 1], "both": [1]}, [3, None])
    assert Cell("both", 3, 1, 1) in study.cells()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hypotheses": [{"arm": "both", "against": "none", "expect": "same"}]},
            r": hypotheses is same: expected 'better' or 'equivalent'",
        ),
        ({"hypotheses": [{"arm": "both"}]}, "hypotheses: against, expect: missing"),
        ({"hypotheses": ["both"]}, "hypotheses: one is both: expected fields"),
        ({"hypotheses": ["antigravity.fly"]}, "hypotheses: one is antigravity.fly: expected fields"),
        ({"settings": {"run": "x"}}, "none: key 'run' is no field of a configuration"),
        ({"settings": {"config": "x.yaml"}}, "none: key 'config' is no field of a configuration"),
        ({"settings": {"training": "os.system"}}, "none: key 'training' is no field of a configuration"),
        ({"arms": ["none"]}, r"arms is \['none'\]: expected fields by name"),
        ({"seeds": 0.5}, r"seeds is 0\.5: expected a list of whole numbers or such a list by name"),
        ({"question": None}, "question: missing"),
        ({"margins": 1}, r"margins.*did you mean margin\?"),
        ({"foo": 1}, "foo: no field of a study: expected some of question, config, arms"),
        (
            {"arms": {"none": {"attention.skip": "gate"}}},
            r"none: key 'attention\.skip' is no field of a configuration: did you mean attention\.skips\?",
        ),
        ({"arms": {"none": {"training.steps": "many"}}}, r"none: training\.steps is many: expected a whole number"),
        ({"settings": {"training.step": 5}}, r"none: key 'training\.step' is no field.*did you mean training\.steps\?"),
        ({"arms": {"both": {}, "none": {}}}, "arms: none and both are the same: expected arms that differ"),
        ({"arms": {}}, "arms: is empty"),
        ({"seeds": {"nobody": [1], "default": [0]}}, "seeds: nobody: no such arm"),
        ({"arms": {8: {"network.base_channels": 8}, "both": {}}}, "arms: 8: expected a name: put it in quotes"),
        ({"seeds": {1: [0], "default": [0]}}, "seeds: 1: expected a name: put it in quotes"),
        ({"seeds": {"none": [1]}}, "seeds: both: no seeds: name the arm, or default"),
        ({"settings": {}}, "none: has a budget in minutes"),
        ({"config": "nothing.yaml"}, r"nothing\.yaml: cannot be read"),
        ({"folds": [7]}, "folds: 7: expected 0 to 3"),
    ],
)
def test_mistakes_in_the_file_are_named(file, capsys, changes, message):
    write(file.parent, **changes)
    assert main(["study", str(file), "--list"]) == 2
    text = capsys.readouterr().err
    assert str(file) in text
    assert re.search(message, text), text


def test_a_file_without_an_ending_is_no_folder(file, capsys):
    assert main(["study", str(file.rename(file.with_suffix(""))), "--list"]) == 2
    assert "has no ending, such as .yaml: rename it" in capsys.readouterr().err


def test_the_file_in_the_documents_is_valid(tmp_path):
    text = (REPOSITORY / "docs" / "study.md").read_text()
    (tmp_path / "phantoms.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    (tmp_path / "phantoms-config.yaml").write_text((REPOSITORY / "configs" / "phantom.yaml").read_text())
    study = read_study(tmp_path / "phantoms.yaml")
    assert (len(study.cells()), study.arms["wider"].network.base_channels) == (3 * 2 * 3, 20)


def test_files_in_settings_are_beside_the_study(file):
    settings = STUDY["settings"] | {"data.subjects": "subjects.csv", "data.splits": "splits.json"}
    write(file.parent, settings=settings)
    data = read_study(file).arms["none"].data
    assert (data.subjects, data.splits) == (str(file.parent / "subjects.csv"), str(file.parent / "splits.json"))
    write(file.parent, settings=settings | {"data.subjects": None, "data.splits": "null"})
    data = read_study(file).arms["none"].data
    assert (data.subjects, data.splits) == (None, None)


def test_nothing_that_a_file_names_is_imported(file, monkeypatch):
    (file.parent / "named.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(file.parent)
    write(file.parent, hypotheses=["named.x"])
    assert main(["study", str(file), "--list"]) == 2
    assert "named" not in sys.modules


def test_a_name_beyond_the_common_characters(cohort, tmp_path):
    folder = tmp_path / "\U0001f9e0"
    shutil.copytree(cohort, folder)
    file = tmp_path / "new.yaml"
    write_new(file, str(folder))
    assert read_study(file).question == "Does attention help on \U0001f9e0?"
