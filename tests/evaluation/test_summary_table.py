"""The table that an evaluation prints."""

from rich.console import Console

from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.summary import summarise
from attention_unet.evaluation.summary_table import print_table
from tests.evaluation.build import metrics


def test_the_table_counts_persons_and_cuts_intervals_of_dice():
    rows = [
        Row(case, "a", metrics(dice=dice), case[0]) for case, dice in (("x1", 0.9), ("x2", 0.9), ("y", 0.1), ("z", 0))
    ]
    summary = summarise(rows, CaseWarnings(), {row.case: row.subject for row in rows})
    assert summary.classes["a"]["dice"].ci95[0] < 0
    assert summary.classes["a"]["dice"].ci95[1] > 1
    console = Console(record=True, width=80)
    print_table(summary, console)
    text = console.export_text()
    assert "4 cases of 3 persons, mean" in text
    assert "0.000 to 1.000" in text
