from math import nan

from rich.console import Console

from attention_unet.evaluation.fold_table import tabulate_folds
from attention_unet.evaluation.rows import Row
from tests.evaluation.build import metrics


def rows_of(dice):
    return [Row(case, name, metrics(dice=value)) for (case, name), value in dice.items()]


def test_a_fold_scored_by_itself(capsys):
    rows = rows_of(
        {("a", "x"): 0.5, ("b", "x"): 0.7, ("c", "x"): 0.9, ("a", "y"): nan, ("b", "y"): 0.1, ("c", "y"): 0.2}
    )
    Console(width=100).print(tabulate_folds(rows, {3: ["a", "b"], 1: ["c"]}))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["class", "fold", "3", "(2)", "fold", "1", "(1)", "all", "(3)"] in lines
    assert ["x", "0.6000", "0.9000", "0.7000", "±", "0.200"] in lines
    assert ["y", "0.1000", "0.2000", "0.1500", "±", "0.071"] in lines
    assert ["mean", "of", "classes", "0.3500", "0.5500", "0.4250"] in lines


def test_a_class_that_a_fold_lacks_is_left_out_of_its_mean(capsys):
    rows = rows_of({("a", "x"): 0.5, ("a", "y"): nan, ("b", "x"): 0.7, ("b", "y"): 0.1})
    Console(width=100).print(tabulate_folds(rows, {0: ["a"], 1: ["b"]}))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["y", "-", "0.1000", "0.1000"] in lines
    assert ["mean", "of", "classes", "0.5000", "0.4000", "0.3500"] in lines
