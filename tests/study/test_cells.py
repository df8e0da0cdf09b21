"""Trainings of a study on phantoms."""

import dataclasses
import json
import shutil
import signal
from unittest import mock

import pytest

from attention_unet.dataset.splits import read_splits
from attention_unet.errors import ConfigError, DataError
from attention_unet.evaluation.rows import read_metrics
from attention_unet.files.lock import Busy, folder_lock
from attention_unet.study.cells import is_done, run_cell
from attention_unet.study.design import Cell
from attention_unet.study.registration import register
from attention_unet.study.report import write_study
from attention_unet.study.scores import read_scores
from attention_unet.training.history import read_validations
from attention_unet.training.interruption import Interrupted
from attention_unet.training.monitor import Monitor

CELL = Cell("gate", None, 0, 0)


def test_scores_are_those_of_validations_and_evaluation(done):
    scores, run = read_scores(done / "cells" / f"{CELL.name}.csv"), done / "runs" / "gate-all-seed0"
    during = {(s.step, s.case, s.class_name): s.dice for s in scores if s.stage == "validation"}
    validations = read_validations(run / "fold0" / "validations.csv")
    expected = {(row.step, row.case, row.class_name): row.dice for row in validations}
    assert {step for step, _, _ in during} == {2, 4}
    assert during == pytest.approx(expected, rel=1e-5, nan_ok=True)
    last = {(s.case, s.class_name): (s.dice, s.nsd, s.reference_ml) for s in scores if s.stage == "prediction"}
    rows = [row for row in read_metrics(run / "metrics.csv") if row.class_name != "(foreground)"]
    assert len(last) == len(rows) == 2 * 3
    for row in rows:
        assert last[row.case, row.class_name] == pytest.approx(
            (row.metrics.dice, row.metrics.nsd, row.metrics.reference_volume_ml), rel=1e-5
        )


def test_fewer_persons_are_trained_on_and_the_same_are_held_out(done):
    splits = read_splits(done / "splits-3.json")
    for fold, split in enumerate(splits):
        assert (len(split.training), len(split.validation)) == (3, 2), fold
    few, all_cases = (
        json.loads((done / "runs" / f"gate-{size}-seed0" / "fold0" / "splits.json").read_text()) for size in (3, "all")
    )
    assert few["training"] == list(splits[0].training)
    assert set(few["training"]) < set(all_cases["training"])
    assert few["validation"] == all_cases["validation"]


def test_a_finished_cell_is_not_run_again_and_another_configuration_is_refused(small, done):
    filled, _ = register(small, done)
    with mock.patch("attention_unet.study.cells.cross_validate", side_effect=AssertionError):
        run_cell(filled, CELL, done)
        longer = dataclasses.replace(
            filled.arms["gate"], training=dataclasses.replace(filled.arms["gate"].training, steps=6)
        )
        other = dataclasses.replace(filled, arms=dict.fromkeys(filled.arms, longer))
        with pytest.raises(
            ConfigError,
            match=r"gate-all-seed0-fold0\.json: is of another configuration.*remove it and .*gate-all-seed0/fold0",
        ):
            run_cell(other, CELL, done)


def test_a_cell_that_another_process_trains_is_left_to_it(small, tmp_path):
    filled, _ = register(small, tmp_path)
    with folder_lock(tmp_path / "cells" / f".{CELL.name}"), pytest.raises(Busy):
        run_cell(filled, CELL, tmp_path)


def test_a_stopped_cell_goes_on_to_the_same_numbers(small, done, tmp_path):
    filled, _ = register(small, tmp_path)
    record_step = Monitor.record_step

    def interrupting(self, step, *arguments):
        record_step(self, step, *arguments)
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with mock.patch.object(Monitor, "record_step", interrupting), pytest.raises(Interrupted):
        run_cell(filled, CELL, tmp_path)
    assert not is_done(filled, CELL, tmp_path)
    run_cell(filled, CELL, tmp_path)
    one, other = ((folder / "cells" / f"{CELL.name}.csv").read_text() for folder in (tmp_path, done))
    assert one == other


def test_a_changed_study_is_refused_or_amended_with_its_reason(small, done, tmp_path):
    register(small, tmp_path)
    changed = dataclasses.replace(small, margin=0.01)
    with pytest.raises(
        ConfigError, match=r"the study was recorded on .*, and margin changed since: undo the change, or"
    ):
        register(changed, tmp_path)
    _, found = register(changed, tmp_path, "0.005 was a slip")
    assert [(each["changed"], each["reason"]) for each in found.amendments] == [("margin", "0.005 was a slip")]
    write_study(changed, found, tmp_path)
    assert "(margin): 0.005 was a slip" in (tmp_path / "study.md").read_text()
    file = tmp_path / "study.json"
    file.write_text(file.read_text().replace('"margin": 0.01', '"margin": 0.02'))
    with pytest.raises(ConfigError, match="was edited: its sha256 is not that of its study"):
        register(dataclasses.replace(small, margin=0.02), tmp_path)


def test_mistakes_of_any_arm_are_found_before_anything_is_recorded(small, tmp_path):
    wrong = dataclasses.replace(
        small.arms["gate"], attention=dataclasses.replace(small.arms["gate"].attention, skips="gat")
    )
    with pytest.raises(ConfigError, match=r"gate: the network cannot be built.*did you mean gate"):
        register(dataclasses.replace(small, arms={**small.arms, "gate": wrong}), tmp_path)
    assert not (tmp_path / "study.json").exists()


def test_the_report_has_every_result(small, done):
    filled, registration = register(small, done)
    verdicts = write_study(filled, registration, done)
    assert [(verdict.size, len(verdict.gain.by_pair)) for verdict in verdicts] == [(None, 1), (3, 1)]
    text = (done / "study.md").read_text()
    assert "4 of 4 trainings finished" in text
    assert registration.sha256 in text
    assert "gate against none, trained on 3 persons: " in text
    assert len((done / "results.csv").read_text().splitlines()) == 1 + 4 * 3 * 2 * 3
    assert (done / "study.png").read_bytes().startswith(b"\x89PNG")
    assert (done / "verdicts.csv").read_text().splitlines()[1].startswith("gate,none,better,all,not decided,1,0,")


def test_trainings_on_other_data_are_not_compared(small, done, tmp_path):
    filled, registration = register(small, done)
    shutil.copytree(done / "cells", tmp_path / "cells")
    write_study(filled, registration, tmp_path)
    file = tmp_path / "cells" / f"{CELL.name}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data_sha256": "0"}))
    with pytest.raises(DataError, match="had other images or labels than"):
        write_study(filled, registration, tmp_path)
