"""A picture of a comparison: what every case gains."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from attention_unet.evaluation.compare import Comparison
from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of

SPREAD = 0.12  # of the points of a row, in rows


def draw_gains(comparisons: Sequence[Comparison], output: Path) -> None:
    """Draw a row a class and model: a point a case, the mean and its 95% interval; right of 0 the model is better.

    Args:
        comparisons: with one baseline, of one metric.
        output: PNG to write.
    """
    classes = list(dict.fromkeys(one.class_name for one in comparisons))
    models = list(dict.fromkeys(one.model for one in comparisons))
    rows = [one for name in classes for one in comparisons if one.class_name == name]
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.3), dpi=110, layout="constrained")
    axes = figure.subplots()
    random = np.random.RandomState(0)
    for height, one in enumerate(rows):
        colour = colour_of(models.index(one.model))
        gains = [gain for gain in one.gains if math.isfinite(gain)]
        axes.scatter(gains, height + random.uniform(-SPREAD, SPREAD, len(gains)), s=9, color=colour, alpha=0.35)
        axes.plot(one.ci95, (height, height), color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(one.gain, height, "D", color=colour, markeredgecolor="black", markersize=7)
    axes.axvline(0, color="black", linewidth=0.8)
    names = [one.class_name if len(models) == 1 else f"{one.class_name}: {one.model}" for one in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    first = rows[0]
    better = f"{first.model} better" if len(models) == 1 else f"better than {first.baseline}"
    axes.set_xlabel(f"\u2190 {first.baseline} better      {first.metric}, case by case      {better} \u2192")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    save_figure(figure, output)
