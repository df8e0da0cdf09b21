"""Learning curves of several trainings in one picture."""

import csv
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from attention_unet.atomic import replacing


def draw_curves(histories: Mapping[str, Path], output: Path) -> None:
    """Draw loss and mean Dice of the held-out cases over the minutes of each training.

    Args:
        histories: ``history.csv`` of each, by the name to show.
        output: PNG to write.
    """
    figure = Figure(figsize=(9.8, 3.2), dpi=110, layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for name, path in histories.items():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        minutes = [float(row["minutes"]) for row in rows]
        loss.plot(minutes, [float(row["loss"]) for row in rows], ".-", label=name)
        dice.plot(minutes, [float(row["dice"]) for row in rows], ".-", label=f"{name}: {float(rows[-1]['dice']):.4f}")
    loss.set(xlabel="minutes", ylabel="training loss")
    dice.set(xlabel="minutes", ylabel="mean Dice of held-out cases")
    for axes in (loss, dice):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*dice.get_legend_handles_labels(), loc="outside right center", frameon=False)
    with replacing(output) as partial:
        figure.savefig(partial)
