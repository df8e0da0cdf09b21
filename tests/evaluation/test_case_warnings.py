"""Warnings about the cases of an evaluation."""

from attention_unet.evaluation.case_warnings import CaseWarnings

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
