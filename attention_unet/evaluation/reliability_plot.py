"""A picture of how far probabilities can be believed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of

if TYPE_CHECKING:
    from attention_unet.evaluation.calibration import Reliability

FEWEST = 20  # voxels of a bin that is drawn


def draw_reliability(reliabilities: "Mapping[str, Reliability]", output: Path) -> None:
    """Draw for each class the share of voxels that are of it over their probability; below the diagonal it is too sure.

    Args:
        reliabilities: by class.
        output: PNG to write.
    """
    figure = Figure(figsize=(4.6, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="black", linewidth=0.8)
    for i, (name, of) in enumerate(reliabilities.items()):
        shown = of.voxels >= FEWEST
        label = f"{name}: {of.error:.4f}"
        axes.plot(of.probability[shown], of.share[shown], ".-", color=colour_of(i), label=label)
    axes.set(xlabel="probability", ylabel="share of the voxels that are of the class", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="expected calibration error", frameon=False, fontsize=8, title_fontsize=8)
    save_figure(figure, output)
