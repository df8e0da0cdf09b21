"""Draw what a study has found: the gain of each claim with the margin, and Dice over the steps for each arm."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of
from attention_unet.study.verdicts import Verdict


def draw_study(verdicts: Sequence[Verdict], margin: float, curves: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Draw both pictures side by side into a PNG."""
    figure = Figure(figsize=(11, max(0.5 * len(verdicts) + 1.4, 3.2)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_gains(left, verdicts, margin)
    _draw_curves(right, curves)
    save_figure(figure, output)


def _draw_gains(axes: Axes, verdicts: Sequence[Verdict], margin: float) -> None:
    """Draw a row for each verdict: a dot for each pair of trainings, the mean, its 95 % and 90 % interval."""
    axes.axvspan(-margin, margin, color="0.9")
    axes.axvline(0, color="black", linewidth=0.8)
    for height, each in enumerate(verdicts):
        axes.scatter(each.gain.pair_means(), [height + 0.25] * len(each.gain.by_pair), s=14, color="0.45", zorder=2)
        for level, width in ((0.95, 1.5), (0.9, 4)):
            axes.plot(each.gain.interval(level), (height, height), color="tab:blue", linewidth=width, zorder=3)
        axes.plot(each.gain.mean, height, "D", color="tab:blue", markeredgecolor="black", markersize=7, zorder=4)
    names = [
        f"{each.claim.arm} against {each.claim.against}" + (f" ({each.persons})" if each.persons else "")
        for each in verdicts
    ]
    axes.set_yticks(range(len(verdicts)), names)
    axes.set_ylim(max(len(verdicts), 1) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("gain of mean Dice, 90 % (thick) and 95 % (thin) interval;\ngrey: margin; dots: pairs of trainings")
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_curves(axes: Axes, curves: Sequence[Mapping[str, Any]]) -> None:
    """Draw the mean Dice over the steps, for each arm."""
    for number, curve in enumerate(curves):
        if curve["points"]:
            axes.plot(*zip(*curve["points"], strict=True), "o-", color=colour_of(number), label=curve["arm"])
    axes.set_xlabel("steps")
    axes.set_ylabel("mean Dice of held-out persons")
    if any(curve["points"] for curve in curves):
        axes.legend(frameon=False, fontsize="small", ncols=1 + len(curves) // 12)
    axes.spines[["top", "right"]].set_visible(False)
