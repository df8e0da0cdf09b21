"""Learning curves: the drawn lines have the values of history.csv."""

import csv

import numpy as np
from matplotlib.figure import Figure

from attention_unet.training.curves import draw_training, draw_trainings

HISTORY = [
    {"step": 10.0, "minutes": 1.0, "loss": 0.9, "dice": 0.4, "dice a": 0.5, "dice b": 0.3},
    {"step": 20.0, "minutes": 2.5, "loss": 0.7, "dice": 0.6, "dice a": 0.7, "dice b": 0.5},
]


def lines_of(monkeypatch, draw):
    """Return the lines of both panels, x and y, by label."""
    seen, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (seen.append(figure), save(figure, *a, **k)))
    draw()
    return [
        {line.get_label(): np.array(line.get_data()).T.tolist() for line in axes.get_lines()} for axes in seen[0].axes
    ]


def test_a_training_by_class(tmp_path, monkeypatch):
    loss, dice = lines_of(monkeypatch, lambda: draw_training(HISTORY, ["a", "b"], tmp_path / "curves.png"))
    assert list(loss.values()) == [[[10.0, 0.9], [20.0, 0.7]]]
    assert dice == {"a: 0.7000": [[10.0, 0.5], [20.0, 0.7]], "b: 0.5000": [[10.0, 0.3], [20.0, 0.5]]}
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_several_trainings(tmp_path, monkeypatch):
    files = {}
    for name, rows in (("one", HISTORY), ("two", HISTORY[:1])):
        files[name] = tmp_path / f"{name}.csv"
        with files[name].open("w", newline="") as file:
            writer = csv.DictWriter(file, list(HISTORY[0]))
            writer.writeheader()
            writer.writerows(rows)
    loss, dice = lines_of(monkeypatch, lambda: draw_trainings(files, tmp_path / "curves.png"))
    assert list(loss.values()) == [[[10.0, 0.9], [20.0, 0.7]], [[10.0, 0.9]]]
    assert dice == {"one: 0.6000": [[10.0, 0.4], [20.0, 0.6]], "two: 0.4000": [[10.0, 0.4]]}
