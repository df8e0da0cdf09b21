"""Scores of cells, by hand."""

import pytest

from attention_unet.errors import DataError
from attention_unet.study.scores import (
    Score,
    dice_at_step,
    of_predictions,
    person_dice,
    read_scores,
    scores_to_csv,
    validation_steps,
    without_absent,
)

NAN = float("nan")
SCORES = [
    Score("validation", 2, "a", "P", "block", 0.1),
    Score("validation", 2, "b", "Q", "block", 0.3),
    Score("validation", 6, "a", "P", "block", 0.5),
    Score("validation", 6, "b", "Q", "block", 0.7),
    Score("prediction", 6, "a", "P", "block", 0.8, 0.9, 1.5, 2.5),
    Score("prediction", 6, "a", "P", "dot", 0.6, 0.9, 1.5, 2.5),
    Score("prediction", 6, "c", "P", "block", 0.5, 0.9, 1.5, 2.5),
    Score("prediction", 6, "c", "P", "dot", NAN, NAN, NAN, 0.0),
    Score("prediction", 6, "b", "Q", "dot", 0.2, 0.9, 1.5, 2.5),
]


def test_persons_count_once_and_empty_masks_are_right():
    assert person_dice(of_predictions(SCORES)) == pytest.approx({"P": (0.7 + 0.75) / 2, "Q": 0.2})


def test_between_two_validations_dice_is_on_the_line():
    assert validation_steps(SCORES) == [2, 6]
    assert dice_at_step(SCORES, 2) == pytest.approx({"P": 0.1, "Q": 0.3})
    assert dice_at_step(SCORES, 3) == pytest.approx({"P": 0.2, "Q": 0.4})
    assert dice_at_step(SCORES, 6) == pytest.approx({"P": 0.5, "Q": 0.7})
    assert dice_at_step(SCORES, 1.9) == dice_at_step(SCORES, 6.1) == {}


def test_a_table_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "none-all-seed0-fold0.csv"
    file.write_text(scores_to_csv(SCORES))
    assert str(read_scores(file)) == str(SCORES)  # NaN is not equal to itself
    file.write_text(scores_to_csv(SCORES).replace("0.8", "much"))
    with pytest.raises(DataError, match=r"fold0.csv: not a table of results .*much.*: remove it and .*fold0.json"):
        read_scores(file)


def test_structures_that_neither_the_reference_nor_any_training_has_are_left_out():
    empty = [Score("prediction", 6, case, case, "dot", NAN) for case in "ab"]
    found = [empty[0], Score("prediction", 6, "b", "b", "dot", 0.0)]
    assert [[score.case for score in scores] for scores in without_absent({0: empty, 1: found}).values()] == [["b"]] * 2
    assert without_absent({0: empty, 1: empty}) == {0: [], 1: []}


def test_cases_of_a_person_count_once_however_many_classes_they_have():
    scores = [score for score in SCORES[4:7] if score.subject == "P"]
    assert person_dice(scores) == pytest.approx({"P": (0.7 + 0.5) / 2})
