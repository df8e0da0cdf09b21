"""The command that compares evaluations, from their folders to a table and a picture."""

import json
from dataclasses import replace

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.evaluation import comparison_plot
from attention_unet.evaluation.comparison_plot import draw_gains
from attention_unet.evaluation.rows import metrics_to_csv
from tests.conftest import read_csv, save_nifti
from tests.evaluation.build import compare, levels, noise, rows


def test_from_folders_to_sentences_table_and_picture(tmp_path, capsys):
    base = levels()
    for name, values in (("one", base), ("two", base + 0.004 + noise())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(metrics_to_csv(rows(values)[: 42 if name == "one" else 41]))
    call = ["compare", str(tmp_path / "one"), str(tmp_path / "two"), "-o", str(tmp_path / "out")]
    assert main(call) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("two is better than one in dice on a by 0.0038, 95% interval 0.00")
    assert "1 case not in all: left out: case41" in captured.err
    (row,) = read_csv(tmp_path / "out" / "comparison.csv")
    assert (row["model"], row["baseline"], row["class"], row["metric"], row["n"]) == ("two", "one", "a", "dice", "41")
    assert float(row["low"]) < float(row["gain"]) < float(row["high"])
    assert int(row["better"]) + int(row["worse"]) == 41
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_names_are_no_formulas_in_a_picture(tmp_path):
    found = compare({"$\\a$": rows([0.5, 0.6]), "$\\b$": rows([0.6, 0.6], class_name="a")}, "dice")
    draw_gains([replace(one, class_name="$\\c$") for one in found], tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_infinite_gains_are_counted_in_the_picture(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(comparison_plot, "save_figure", lambda figure, output: figures.append(figure))
    found = compare({"A": rows([5.0] * 8, "hd95_mm"), "B": rows([4.9, 4.8] + [np.inf] * 6, "hd95_mm")}, "hd95_mm")
    draw_gains(found, tmp_path / "x.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a\n\N{INFINITY}: 0 better, 6 worse"]
    assert axes.get_xlabel().endswith("only one model misses or invents the structure")


@pytest.mark.parametrize(
    ("folders", "code", "message"),
    [
        (["one"], 2, "compare needs at least two evaluations, there is 1"),
        (["one", "one"], 2, "the same evaluation is named twice"),
        (["one", "nowhere"], 2, "nowhere: holds no metrics.csv: expected a folder that evaluate wrote"),
        (["one", "odd"], 1, "odd/metrics.csv: not a table of metrics"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, monkeypatch, capsys, folders, code, message):
    monkeypatch.chdir(tmp_path)
    for name, text in (("one", metrics_to_csv(rows([0.5, 0.6]))), ("odd", "case,class,dice\nx,a,many\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(text)
    assert main(["compare", *folders]) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "comparison").exists()


def test_evaluations_that_were_not_made_alike_are_told(tmp_path, capsys):
    masks = np.zeros((8, 8, 8), dtype=np.uint8)
    masks[2:6, 2:6, 2:6] = 1
    for folder in "pqrs":
        save_nifti(tmp_path / folder / "x.nii.gz", np.roll(masks, folder == "q", 0))
    calls = {"one": ("p", "r", 1), "two": ("q", "r", 2), "three": ("q", "s", 1)}
    for name, (predictions, references, tolerance) in calls.items():
        call = ["evaluate", "-p", str(tmp_path / predictions), "-r", str(tmp_path / references)]
        assert main([*call, "-o", str(tmp_path / name), "--tolerance-mm", str(tolerance)]) == 0
    one, two, three = (str(tmp_path / name) for name in calls)
    capsys.readouterr()
    assert main(["compare", one, two, "-o", str(tmp_path / "c"), "--metric", "nsd"]) == 2
    assert "the tolerances of nsd are [1.0, 2.0] mm" in capsys.readouterr().err
    assert main(["compare", one, two, "-o", str(tmp_path / "c")]) == 0
    assert "warning" not in capsys.readouterr().err
    assert main(["compare", one, three, "-o", str(tmp_path / "c"), "--metric", "nsd"]) == 0
    assert "scored with other references: 1 case: " in capsys.readouterr().err
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    (tmp_path / "two" / "summary.json").write_text(
        json.dumps(summary | {"warnings": ["1 of 1 case is a training case"]})
    )
    assert main(["compare", one, two, "-o", str(tmp_path / "c")]) == 0
    assert f"{two}: 1 of 1 case is a training case" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "one" / "summary.json").write_text('{"settings": 3}')
    assert main(["compare", one, two, "-o", str(tmp_path / "c")]) == 1
    assert "summary.json: is damaged" in capsys.readouterr().err
    (tmp_path / "one" / "summary.json").write_text('{"settings": {"tolerance_mm": [1]}}')
    assert main(["compare", one, two, "-o", str(tmp_path / "c"), "--metric", "nsd"]) == 1
    assert "summary.json: is damaged" in capsys.readouterr().err
