"""Draw a comparison of models: the gain of every case."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from attention_unet.evaluation.comparison import Comparison
from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of

TALLEST = 590  # inches, at 110 dpi: Matplotlib draws less than 2**16 pixels
SPREAD = 0.12  # vertical scatter of the points, as a share of the height of a row


def draw_gains(comparisons: Sequence[Comparison], output: Path) -> None:
    """Draw one row per class and model: a point per case, the mean and its 95% interval.

    To the right of 0 the model is better. Infinite gains are counted beside the name of their row.
    """
    classes = list(dict.fromkeys(comparison.class_name for comparison in comparisons))
    models = list(dict.fromkeys(comparison.model for comparison in comparisons))
    rows = [comparison for name in classes for comparison in comparisons if comparison.class_name == name]
    figure = Figure(figsize=(8, min(0.45 * len(rows) + 1.3, TALLEST)), dpi=110, layout="constrained")
    axes = figure.subplots()
    random = np.random.RandomState(0)
    for height, row in enumerate(rows):
        colour = colour_of(models.index(row.model))
        gains = [gain for gain in row.gains if math.isfinite(gain)]
        axes.scatter(gains, height + random.uniform(-SPREAD, SPREAD, len(gains)), s=9, color=colour, alpha=0.35)
        axes.plot(row.test.ci95, (height, height), color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(row.test.gain, height, "D", color=colour, markeredgecolor="black", markersize=7)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [_label(row, len(models)) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    first = rows[0]
    better = f"{first.model} better" if len(models) == 1 else f"better than {first.baseline}"
    label = f"\u2190 {first.baseline} better      {first.metric}, case by case      {better} \u2192"
    if any(math.isinf(gain) for row in rows for gain in row.gains):
        label += "\n\N{INFINITY}: cases in which only one model misses or invents the structure"
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    save_figure(figure, output)


def _label(row: Comparison, models: int) -> str:
    """Return the name of a row, with the number of cases that only one of the models misses or invents."""
    name = row.class_name if models == 1 else f"{row.class_name}: {row.model}"
    better, worse = (row.gains.count(infinite) for infinite in (math.inf, -math.inf))
    return f"{name}\n\N{INFINITY}: {better} better, {worse} worse" if better or worse else name
