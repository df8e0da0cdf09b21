"""Warnings about the cases of an evaluation."""

import json

import pytest

from attention_unet.errors import DataError
from attention_unet.evaluation.case_warnings import CaseWarnings, read_case_warnings
from attention_unet.evaluation.summary import summarise

ALL = CaseWarnings(
    ["a", "b"], {"c": "is no file"}, {"d": [*range(7, 13)], "a": [7]}, [f"t{i}" for i in range(6)], ["c"], edited=["b"]
)


def test_what_is_told_in_plain_words():
    assert ALL.sentences(20) == [
        "2 of 20 cases have no prediction and are scored as empty: a, b",
        "1 case could not be scored, left out of all means: c",
        "labels that belong to no class are scored as background: 7, 8, 9, 10, 11 and 1 more, in a, d",
        "6 of 20 cases are training cases of the model, their scores are too good: t0, t1, t2, t3, t4 and 1 more",
        "1 of 20 cases have the id of a training case, but another image; if they show the same scan or person, "
        "their scores are too good: c",
        "1 mask changed after prediction, scored with the changes: b",
    ]
    assert CaseWarnings().sentences(1) == []


def test_they_are_read_as_they_were_written(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(summarise([], ALL, {"tolerance_mm": 2}).to_json()))
    assert read_case_warnings(tmp_path) == (ALL, {"tolerance_mm": 2})


@pytest.mark.parametrize("name", ["missing_predictions", "failed", "unknown_labels", "trained_on", "settings"])
def test_a_damaged_summary_is_told(tmp_path, name):
    plain = summarise([], ALL, {}).to_json() | {name: 3}
    (tmp_path / "summary.json").write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"summary\.json: is damaged .*: expected what evaluate writes; evaluate again"):
        read_case_warnings(tmp_path)
