"""Results of finished trainings: what is refused."""

import json
import shutil

import pytest

from attention_unet.errors import DataError
from attention_unet.files.atomic import PARTIAL
from attention_unet.files.digest import sha256_of
from attention_unet.study.design import Cell
from attention_unet.study.finished import check_comparable, find_finished, read_records, read_results
from attention_unet.study.register import register
from attention_unet.study.scores import Score
from tests.study.build import CELL, copy_study


@pytest.fixture
def copied(small, done, tmp_path):
    copy_study(done, tmp_path)
    filled, registration = register(small, tmp_path)

    def read():
        return read_results(read_records(filled, registration, tmp_path), tmp_path)

    assert len(read()) == 4
    return tmp_path, read


def test_trainings_on_other_data_are_not_compared(copied):
    folder, read = copied
    file = folder / "cells" / f"{CELL.name}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data_sha256": "0"}))
    with pytest.raises(DataError, match="had other images or labels than"):
        read()


def test_results_of_another_training_under_this_name_are_refused(copied):
    folder, read = copied
    for ending in (".json", ".csv"):
        shutil.copy(folder / "cells" / f"none-all-seed0-fold0{ending}", folder / "cells" / f"{CELL.name}{ending}")
    with pytest.raises(DataError, match=r"gate-all-seed0-fold0\.json: is damaged \(of none-all-seed0-fold0\)"):
        read()


@pytest.mark.parametrize("text", [None, "stage\n"])
def test_missing_or_edited_scores_are_refused(copied, text):
    folder, read = copied
    file = folder / "cells" / f"{CELL.name}.csv"
    file.write_text(text) if text else file.unlink()
    with pytest.raises(DataError, match=r"fold0\.csv: is missing or was edited: restore it, or remove .*json"):
        read()


def test_trainings_with_other_structures_are_not_compared(copied):
    folder, read = copied
    file = folder / "cells" / f"{CELL.name}.csv"
    rows = file.read_text().splitlines(keepends=True)
    last = rows.pop().split(",")
    file.write_text("".join(rows))
    record = file.with_suffix(".json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "scores_sha256": sha256_of(file)}))
    with pytest.raises(DataError, match=f"only one of them has a prediction of {last[4]} of case {last[2]}"):
        read()


@pytest.mark.parametrize(
    ("stage", "changed"),
    [("prediction", ("b", "B", "dot")), ("prediction", ("a", "B", "dot")), ("validation", ("a", "A", "block"))],
)
def test_other_cases_persons_and_classes_are_named(stage, changed):
    def scores(*structure):
        return [Score("prediction", 4, "c", "C", "dot", 0.5), Score(stage, 2, *structure, 0.5)]

    other = Cell("none", None, 0, 0)
    check_comparable({CELL: scores("a", "A", "dot"), other: scores("a", "A", "dot")})
    with pytest.raises(DataError, match=rf"{other.name} and {CELL.name}: only one of them has a {stage} of "):
        check_comparable({CELL: scores("a", "A", "dot"), other: scores(*changed)})


@pytest.mark.parametrize("held_out", ["case", "person"])
def test_a_case_or_person_of_two_folds_is_named(held_out):
    other = Cell("gate", None, 0, 1)
    case, person = ("a", "B") if held_out == "case" else ("b", "A")
    with pytest.raises(DataError, match=f"{other.name} and {CELL.name}: {held_out} .* is held out in both"):
        check_comparable(
            {
                CELL: [Score("prediction", 4, "a", "A", "dot", 0.5)],
                other: [Score("prediction", 4, case, person, "dot", 0.5)],
            }
        )


def test_the_unfinished_record_of_a_killed_process_is_no_training(tmp_path):
    (tmp_path / "cells").mkdir()
    for name in ("gate-all-seed0-fold0.json", f"{PARTIAL}1234.json"):
        (tmp_path / "cells" / name).write_text("{}")
    assert [path.name for path in find_finished(tmp_path)] == ["gate-all-seed0-fold0.json"]
