"""Trainings of a study on phantoms."""

import json
import signal
from unittest import mock

import pytest

from attention_unet.dataset.splits import read_split, read_splits
from attention_unet.evaluation.rows import read_metrics
from attention_unet.files.lock import Busy, folder_lock
from attention_unet.study import cells
from attention_unet.study.cells import NoResult, run_cell
from attention_unet.study.design import Cell
from attention_unet.study.finished import finished_record
from attention_unet.study.register import register
from attention_unet.study.report import write_study
from attention_unet.study.scores import read_scores
from attention_unet.training.cross_validation import cross_validate
from attention_unet.training.history import read_validations
from attention_unet.training.interruption import Interrupted
from attention_unet.training.monitor import Monitor
from tests.study.build import CELL, copy_study


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


def test_each_fold_has_a_seed_of_its_own(small, tmp_path):
    filled, registration = register(small, tmp_path)
    training = mock.patch("attention_unet.study.cells.cross_validate", side_effect=KeyboardInterrupt)
    with training as called, pytest.raises(KeyboardInterrupt):
        run_cell(filled, registration, Cell("gate", None, 2, 1), tmp_path)
    assert called.call_args[0][0].training.seed == 1002


def test_fewer_persons_are_trained_on_and_the_same_are_held_out(done):
    splits = read_splits(done / "cells" / ".gate-3-seed0-fold0" / "splits.json")
    for fold, split in enumerate(splits):
        assert (len(split.training), len(split.validation)) == (3, 2), fold
    few, all_cases = (
        json.loads((done / "runs" / f"gate-{persons}-seed0" / "fold0" / "splits.json").read_text())
        for persons in (3, "all")
    )
    assert few["training"] == list(splits[0].training)
    assert set(few["training"]) < set(all_cases["training"])
    assert few["validation"] == all_cases["validation"]


def test_a_finished_cell_is_not_run_again(small, done):
    filled, registration = register(small, done)
    with mock.patch("attention_unet.study.cells.cross_validate") as training:
        run_cell(filled, registration, CELL, done)
    training.assert_not_called()


def test_a_fault_in_another_fold_does_not_take_the_result(small, done, tmp_path, monkeypatch):
    copy_study(done, tmp_path)
    filled, registration = register(small, tmp_path)
    (tmp_path / "cells" / f"{CELL.name}.json").unlink()
    failed = {"held out elsewhere": "damaged"}
    monkeypatch.setattr(cells, "cross_validate", lambda *a, **k: (cross_validate(*a, **k)[0], failed))
    run_cell(filled, registration, CELL, tmp_path)
    assert finished_record(registration, CELL, tmp_path)
    (tmp_path / "cells" / f"{CELL.name}.json").unlink()
    held_out = read_split(tmp_path / "runs" / "gate-all-seed0" / "fold0" / "splits.json").validation
    failed[held_out[0]] = "cut short"
    with pytest.raises(NoResult, match="gate-all-seed0: cut short: cases failed"):
        run_cell(filled, registration, CELL, tmp_path)


def test_a_cell_that_another_process_trains_is_left_to_it(small, tmp_path):
    filled, registration = register(small, tmp_path)
    with folder_lock(tmp_path / "cells" / f".{CELL.name}"), pytest.raises(Busy):
        run_cell(filled, registration, CELL, tmp_path)


def test_a_stopped_cell_goes_on_to_the_same_numbers(small, done, tmp_path):
    filled, registration = register(small, tmp_path)
    record_step = Monitor.record_step

    def interrupting(self, step, *arguments):
        record_step(self, step, *arguments)
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with mock.patch.object(Monitor, "record_step", interrupting), pytest.raises(Interrupted):
        run_cell(filled, registration, CELL, tmp_path)
    assert not finished_record(registration, CELL, tmp_path)
    other_folds = "attention_unet.training.cross_validation._choose_cleaned_classes"
    with mock.patch(other_folds, side_effect=AssertionError("depends on which other folds are finished")):
        run_cell(filled, registration, CELL, tmp_path)
    one, other = ((folder / "cells" / f"{CELL.name}.csv").read_text() for folder in (tmp_path, done))
    assert one == other


def test_the_report_has_every_result(small, done):
    filled, registration = register(small, done)
    verdicts = write_study(filled, registration, done)
    assert [(verdict.persons, len(verdict.gain.by_pair)) for verdict in verdicts] == [(None, 1), (3, 1)]
    text = (done / "study.md").read_text()
    assert "4 of 4 trainings finished" in text
    assert registration.sha256 in text
    assert "Not decided whether gate is better than none, trained on 3 persons: " in text
    assert len((done / "results.csv").read_text().splitlines()) == 1 + 4 * 3 * 2 * 3
    assert (done / "study.png").read_bytes().startswith(b"\x89PNG")
    assert (done / "verdicts.csv").read_text().splitlines()[1].startswith("gate,none,better,all,not decided,,1,0,")
