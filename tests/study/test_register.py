"""What is recorded before the first training, and what happens if it changes."""

import dataclasses
import json
import shutil

import pytest

from attention_unet.errors import ConfigError, DataError
from attention_unet.files.lock import Busy, folder_lock
from attention_unet.study.cells import run_cell
from attention_unet.study.register import register
from attention_unet.study.registration import read_registration
from attention_unet.study.report import write_study
from tests.study.build import CELL, copy_study, study, with_all
from tests.training.build import with_section


def with_arm(plan, name, **attention):
    changed = with_section(plan.arms["gate"], "attention", **attention)
    return dataclasses.replace(plan, arms={**plan.arms, name: changed})


def test_a_study_is_recorded_once_and_read_as_it_was_written(small, tmp_path):
    _, planned = register(small, tmp_path, save=False)
    assert not (tmp_path / "study.json").exists()
    filled, first = register(small, tmp_path)
    assert dataclasses.replace(planned, date=first.date) == first
    assert register(small, tmp_path) == (filled, first)
    assert read_registration(tmp_path) == first


def test_a_changed_study_is_refused_or_amended_with_its_reason(small, done, tmp_path):
    copy_study(done, tmp_path)
    changed = dataclasses.replace(small, margin=0.01)
    for save in (True, False):
        with pytest.raises(ConfigError, match=r"differs from the .*\(margin: 0\.005 \S 0\.01\): undo that, "):
            register(changed, tmp_path, save=save)
    _, before = register(small, tmp_path)
    assert before.warnings() == []
    filled, found = register(changed, tmp_path, "0.005 was a slip")
    [amendment] = found.amendments
    assert (amendment.trainings, amendment.reason) == (4, "0.005 was a slip")
    recorded, amended = found.sentences()
    assert recorded == before.sentences()[0] == f"Recorded on {before.date}, sha256 {before.sha256}."
    assert amended.endswith(f"0.005 was a slip (sha256 since: {found.sha256})")
    assert "after 4 trainings: the verdicts are not those of claims made before" in found.warnings()[0]
    write_study(filled, found, tmp_path)
    assert found.warnings()[0] in (tmp_path / "study.md").read_text()
    assert "after 4 trainings (margin: 0.005" in (tmp_path / "study.md").read_text()
    assert "after 4 trainings (margin: 0.005" in json.loads(json.dumps((tmp_path / "study.html").read_text()))


@pytest.mark.parametrize("field", ["date", "amendments", "margin"])
def test_an_edited_record_is_refused(small, tmp_path, field):
    register(small, tmp_path)
    register(dataclasses.replace(small, margin=0.02), tmp_path, "why not")
    file = tmp_path / "study.json"
    plain = json.loads(file.read_text())
    if field == "date":
        plain["date"] = "2020-01-01"
    elif field == "amendments":
        plain["amendments"] = []
    else:
        plain["study"]["margin"] = 0.005
    file.write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"study\.json: was edited: its sha256 is not that of its contents"):
        register(small, tmp_path)


def test_a_missing_record_of_finished_trainings_is_told(small, done, tmp_path):
    shutil.copytree(done / "cells", tmp_path / "cells")
    with pytest.raises(ConfigError, match=r"study\.json was missing, but there are results"):
        register(small, tmp_path)
    _, found = register(small, tmp_path, "lost with the disk")
    assert "after 4 trainings (study.json was missing): lost with the disk" in found.sentences()[1]
    assert "or the record was missing, after 4 trainings" in found.warnings()[0]


def test_results_of_a_changed_arm_are_moved_aside(small, done, tmp_path):
    copy_study(done, tmp_path)
    (tmp_path / "runs" / "gate-all-seed0" / "fold1").mkdir(parents=True)  # a training that was stopped
    (tmp_path / "runs" / "gate-displaced-all-seed0").mkdir()
    results = {path.name: path.read_bytes() for path in (tmp_path / "cells").glob("*.*") if path.is_file()}
    of_gate = {name for name in results if name.startswith(("gate-all", "gate-3"))}
    changed = with_arm(small, "gate", skips="se")
    register(changed, tmp_path, "it was meant so")
    aside = tmp_path / "before-amendment-1"
    assert {path.name for path in (aside / "cells").glob("*.*") if path.is_file()} == of_gate
    assert {path.name for path in (tmp_path / "cells").glob("*.*") if path.is_file()} == set(results) - of_gate
    assert all((aside / "cells" / name).read_bytes() == results[name] for name in of_gate)
    assert [path.name for path in (aside / "runs").iterdir()] == ["gate-all-seed0"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["gate-displaced-all-seed0"]
    _, found = register(changed, tmp_path)
    assert found.amendments[0].trainings == len(list((done / "cells").glob("*.json")))


def test_an_arm_that_another_process_trains_is_not_amended(small, done, tmp_path):
    copy_study(done, tmp_path)
    before = (tmp_path / "study.json").read_text()
    lock = tmp_path / "cells" / f".{next(cell.name for cell in small.cells() if cell.arm == 'gate')}"
    with folder_lock(lock), pytest.raises(Busy, match="another process"):
        register(with_arm(small, "gate", skips="se"), tmp_path, "it was meant so")
    assert (tmp_path / "study.json").read_text() == before


def test_claims_that_are_changed_after_results_were_put_aside_are_marked(small, done, tmp_path):
    copy_study(done, tmp_path)
    other = with_all(small, "training", steps=5)
    register(other, tmp_path, "too short")
    assert not list((tmp_path / "cells").glob("*.json"))
    _, found = register(dataclasses.replace(other, margin=0.01), tmp_path, "smaller is not worth it")
    assert "after 4 trainings: the verdicts are not those of claims made before" in found.warnings()[0]


def test_an_amendment_that_cannot_be_trained_is_not_recorded(small, done, tmp_path):
    copy_study(done, tmp_path)
    before = (tmp_path / "study.json").read_text()
    more = with_arm(dataclasses.replace(small, seeds={**small.seeds, "new": [0]}), "new", skips="gaet")
    for changed, message in (
        (more, "new: .*gaet"),
        (dataclasses.replace(small, persons=[None, 3, 99]), "persons: 99, but fold 0 has only"),
    ):
        with pytest.raises(ConfigError, match=message):
            register(changed, tmp_path, "one more")
    assert (tmp_path / "study.json").read_text() == before


def test_other_subjects_are_another_configuration(small, done, tmp_path):
    copy_study(done, tmp_path)
    table = tmp_path / "subjects.csv"
    table.write_text("case,subject\n" + "".join(f"phantom_{i:03d},person{i}\n" for i in range(8)))
    register(with_all(small, "data", subjects=str(table)), tmp_path, "now with persons")
    assert not list((tmp_path / "cells").glob("*.json"))


def test_another_arm_is_amended_and_the_others_stay(small, done, tmp_path):
    copy_study(done, tmp_path)
    more = with_arm(dataclasses.replace(small, seeds={**small.seeds, "se": [0]}), "se", skips="se")
    filled, found = register(more, tmp_path, "one more")
    arrow = "\N{RIGHTWARDS ARROW}"
    assert found.amendments[0].changes == [
        f'arms.se added (attention.skips: "identity" {arrow} "se")',
        f"seeds.se: null {arrow} [0]",
    ]
    assert len(write_study(filled, found, tmp_path)[0].gain.by_pair) == 1


def test_a_field_that_is_new_in_the_program_does_not_change_a_study(small, tmp_path):
    _, found = register(small, tmp_path)
    for arm in found.study["arms"].values():
        del arm["network"]["convs"]
    assert found.changes(small) == []
    longer = dataclasses.replace(small, margin=0.01)
    assert found.amended(longer, "", 0, [], "").study["arms"] == found.study["arms"]
    assert len(found.changes(with_all(small, "network", convs=1))) == 2


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda small: with_arm(small, "gate", skips="gat"), r"gate: the network cannot be built.*did you mean gate"),
        (lambda small: with_all(small, "data", subjects="nowhere.csv"), r"nowhere\.csv"),
        (lambda small: dataclasses.replace(small, persons=[500]), "persons: 500, but fold 0 has only 6 to train on"),
    ],
)
def test_mistakes_of_any_training_are_found_before_anything_is_recorded(small, tmp_path, plan, message):
    with pytest.raises(ConfigError, match=message):
        register(plan(small), tmp_path)
    assert not (tmp_path / "study.json").exists()


def test_repeated_splits_are_no_folds_of_a_study(small, tmp_path):
    splits = [
        {"train": [f"phantom_{n:03d}" for n in range(2, 8)], "val": out}
        for out in (["phantom_000"], ["phantom_000", "phantom_001"])
    ]
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    both = dataclasses.replace(small, folds=[0, 1])
    with pytest.raises(ConfigError, match="phantom_000 is held out in folds 0 and 1"):
        register(with_all(both, "data", folds=2, splits=str(tmp_path / "splits.json")), tmp_path / "study")
    assert not (tmp_path / "study" / "study.json").exists()


def test_a_changed_mechanism_is_shown_with_both_values(small, tmp_path):
    _, found = register(small, tmp_path)
    [change] = found.changes(with_arm(small, "gate", skips={"displaced": "gate"}))
    assert change == 'arms.gate.attention.skips: "gate" \N{RIGHTWARDS ARROW} {"displaced": "gate"}'


def test_trainings_of_another_plan_are_not_mixed(small, done, tmp_path):
    _, found = register(small, tmp_path)
    other = dataclasses.replace(found, plan={**found.plan, "batch": 7})
    assert found.digest_of_arm("gate") == read_registration(done).digest_of_arm("gate")
    assert found.digest_of_arm("gate") != other.digest_of_arm("gate")


@pytest.mark.parametrize(
    "changed", [{"persons": [3]}, {"seeds": {"none": [0, 7], "gate": [0, 7]}}, {"folds": [0, 3]}, {"margin": 0.5}]
)
def test_changes_after_results_that_can_turn_a_verdict_are_told(changed, done, tmp_path):
    copy_study(done, tmp_path)
    found = read_registration(tmp_path)
    plan = dataclasses.replace(study(), **changed)
    changes = found.changes(plan)
    amended = found.amended(plan, "today", 4, changes, "a bad day")
    assert any(change.startswith(*changed) for change in changes)
    assert found.amended(plan, "today", 0, changes, "before any result").warnings() == []
    assert "after 4 trainings: the verdicts are not those of claims made before" in amended.warnings()[0]


def test_other_files_in_the_folder_are_kept(small, tmp_path, monkeypatch):
    (tmp_path / "results.csv").write_text("mine")
    monkeypatch.setattr("attention_unet.study.register.plan_arms", None)  # the folder is checked before this work
    for save in (True, False):
        with pytest.raises(ConfigError, match=r"holds results\.csv and no study\.json: expected a new folder"):
            register(small, tmp_path, save=save)


def test_a_blank_reason_is_none_and_a_reason_without_a_change_is_not_recorded(small, tmp_path, caplog):
    register(small, tmp_path)
    with pytest.raises(ConfigError, match="undo that"):
        register(dataclasses.replace(small, margin=0.01), tmp_path, "  ")
    _, found = register(small, tmp_path, "no change")
    assert found.amendments == []
    assert "nothing has changed: the reason is not recorded" in caplog.text


def test_the_first_arm_is_part_of_the_study():
    plain = study()
    turned = dataclasses.replace(plain, arms=dict(reversed(plain.arms.items())))
    assert plain.to_plain() != turned.to_plain()
    assert CELL in plain.cells()


def test_the_model_that_an_arm_starts_from_is_recorded(small, done, cohort, tmp_path):
    [model] = sorted(done.glob("runs/none-all-*/fold0/model.safetensors"))
    start = shutil.copy(model, tmp_path / "start.safetensors")
    plain = small.arms["none"]
    started = with_section(plain, "training", start_from=str(start))
    plan = study(cohort, run_seeds=[0], folds=[0], arms={"none": plain, "gate": started}, steps=2)
    filled, found = register(plan, tmp_path / "study")
    assert set(found.study["models_sha256"]) == {"gate"}
    run_cell(filled, found, next(cell for cell in filled.cells() if cell.arm == "gate"), tmp_path / "study")
    before = found.digest_of_arm("gate"), found.digest_of_arm("none")
    [other] = sorted(done.glob("runs/none-3-*/fold0/model.safetensors"))
    shutil.copy(other, start)
    with pytest.raises(ConfigError, match=r"models_sha256.gate"):
        register(plan, tmp_path / "study")
    changed = dataclasses.replace(found, study=plan.to_plain())
    assert changed.digest_of_arm("gate") != before[0]
    assert changed.digest_of_arm("none") == before[1]


def test_no_results_that_were_moved_aside_are_replaced(small, done, tmp_path):
    """After the first amendment, the record is put back as it was."""
    for skips in ("se", "sse"):
        copy_study(done, tmp_path)
        register(with_arm(small, "gate", skips=skips), tmp_path, "it was meant so")
    assert [(tmp_path / f"before-amendment-{n}" / "cells").is_dir() for n in (1, 2)] == [True, True]


def test_a_study_that_was_amended_meanwhile_is_not_gone_on_with(small, done, tmp_path):
    copy_study(done, tmp_path)
    filled, registration = register(small, tmp_path)
    register(dataclasses.replace(small, margin=0.02), tmp_path, "0.005 was a slip")
    with pytest.raises(ConfigError, match="was amended meanwhile: repeat the command"):
        write_study(filled, registration, tmp_path)
    with pytest.raises(ConfigError, match="was amended meanwhile: repeat the command"):
        run_cell(filled, registration, filled.cells()[0], tmp_path)
    assert not (tmp_path / "study.html").exists()
