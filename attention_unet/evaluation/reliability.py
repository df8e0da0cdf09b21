"""Reliability of predicted probabilities: its expected calibration error and its diagram."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of

MIN_VOXELS = 20  # bins with fewer voxels are not drawn


@dataclass(frozen=True)
class Reliability:
    """Voxels by the probability of a class, in bins of equal width from 0 to 1.

    Attributes:
        voxels: number of voxels in each bin.
        probability: mean probability in each bin, NaN if the bin is empty.
        share: share of the voxels of each bin that belong to the class, NaN if the bin is empty.
    """

    voxels: NDArray[np.float64]
    probability: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: mean over voxels of |probability - share|; NaN if there are no voxels."""
        return self._error_from(0)

    @property
    def error_where_likely(self) -> float:
        """The same error without the lowest bin: certain background would make any error small."""
        return self._error_from(1)

    def _error_from(self, first: int) -> float:
        voxels, difference = self.voxels[first:], np.nan_to_num(np.abs(self.probability - self.share))[first:]
        return float((voxels * difference).sum() / voxels.sum()) if voxels.sum() else float("nan")


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
