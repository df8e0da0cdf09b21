"""Draw learning curves of one training by class, or of several trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of
from attention_unet.training.history import read_history

Rows = Sequence[Mapping[str, float]]


def draw_trainings(histories: Mapping[str, Path], output: Path) -> None:
    """Draw loss and mean Dice of held-out cases over the steps of several trainings.

    ``histories`` are the paths of their ``history.csv``, by the name to show.
    """
    rows = {name: read_history(path) for name, path in histories.items()}
    _draw(rows, {name: (history, "dice") for name, history in rows.items()}, "mean Dice of held-out cases", output)


def draw_training(history: Rows, class_names: Sequence[str], output: Path) -> None:
    """Draw the loss of a training and the Dice of each class over its steps."""
    scores = {name: (history, f"dice {name}") for name in class_names}
    _draw({"": history}, scores, "Dice of held-out cases", output)


def _draw(losses: Mapping[str, Rows], scores: Mapping[str, tuple[Rows, str]], y_label: str, output: Path) -> None:
    """Draw losses on the left and columns of scores on the right. The legend has the last value of each score."""
    figure = Figure(figsize=(9.8, 3.2), dpi=110, layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for i, (name, rows) in enumerate(losses.items()):
        colour = colour_of(i) if name in scores else "black"
        loss.plot([row["step"] for row in rows], [row["loss"] for row in rows], ".-", color=colour)
    for i, (name, (rows, column)) in enumerate(scores.items()):
        values = [row[column] for row in rows]
        label = f"{name}: {values[-1]:.4f}"
        dice.plot([row["step"] for row in rows], values, ".-", color=colour_of(i), label=label)
    loss.set(xlabel="steps", ylabel="training loss")
    dice.set(xlabel="steps", ylabel=y_label)
    for axes in (loss, dice):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*dice.get_legend_handles_labels(), loc="outside right center", frameon=False)
    save_figure(figure, output)
