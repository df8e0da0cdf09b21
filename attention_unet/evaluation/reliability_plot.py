"""Draw the reliability diagram of predicted probabilities."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from attention_unet.evaluation.reliability import Reliability
from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of

MIN_VOXELS = 20  # bins with fewer voxels are not drawn


def draw_reliability(reliabilities: Mapping[str, Reliability], output: Path) -> None:
    """Draw for each class the share of true voxels over the probability. Below the diagonal the model is overconfident.

    Args:
        reliabilities: reliability by class.
        output: PNG to write.
    """
    figure = Figure(figsize=(4.6, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="black", linewidth=0.8)
    for i, (name, reliability) in enumerate(reliabilities.items()):
        drawn = reliability.voxels >= MIN_VOXELS
        label = f"{name}: {reliability.error:.4f} ({reliability.error_where_likely:.4f})"
        axes.plot(reliability.probability[drawn], reliability.share[drawn], ".-", color=colour_of(i), label=label)
    axes.set(xlabel="probability", ylabel="share of voxels that belong to the class", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="expected calibration error (where likely)", frameon=False, fontsize=8, title_fontsize=8)
    save_figure(figure, output)
