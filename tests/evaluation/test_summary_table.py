"""The table that an evaluation prints."""

import math

from rich.console import Console

from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.summary import summarise
from attention_unet.evaluation.summary_table import print_table
from tests.evaluation.build import metrics


def test_the_table_counts_persons_and_cuts_intervals():
    rows = [
        Row(case, "a", metrics(dice=dice), case[0]) for case, dice in (("x1", 0.9), ("x2", 0.9), ("y", 0.1), ("z", 0))
    ]
    summary = summarise(rows, CaseWarnings(), {row.case: row.subject for row in rows})
    low, high = interval_of_mean([0.9, 0.9, 0.1, 0], ["x", "x", "y", "z"])
    assert low < 0 < 1 < high
    assert summary.classes["a"]["dice"].ci95 == (0, 1)
    console = Console(record=True, width=80)
    print_table(summary, console)
    text = console.export_text()
    assert "4 cases of 3 persons, mean" in text
    assert "0.000 to 1.000" in text


def test_a_mean_of_classes_with_an_infinite_distance_is_infinite():
    """Also if another class is in neither mask of a case."""
    rows = [
        Row("x", "missed", metrics(dice=0, hd95_mm=math.inf)),
        Row("y", "missed", metrics(dice=0.5, hd95_mm=1)),
        Row("x", "absent", metrics()),
        Row("y", "absent", metrics(dice=0.5, hd95_mm=1)),
    ]
    console = Console(record=True, width=80)
    print_table(summarise(rows, CaseWarnings(), {}), console)
    line = next(line for line in console.export_text().splitlines() if line.startswith(" mean of classes"))
    assert "∞" in line
