"""Draw what a mechanism does to one image: image, features before, two panels that suit it, features after."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor, nn

from attention_unet.attention import Attended, Attention
from attention_unet.attention.channel.context_encoding import ContextEncoding
from attention_unet.attention.geometric.glimpse import Glimpse
from attention_unet.attention.geometric.spatial_transformer import SpatialTransformer
from attention_unet.attention.pairwise.deformable import DeformableAttention
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention
from attention_unet.attention.pairwise.state_space import StateSpace
from attention_unet.attention.spatial.hard_gate import HardGate
from attention_unet.attention.spatial.multi_gate import MultiGate
from attention_unet.attention.wrappers import Recursive

LEVEL = 1
Array = NDArray[Any]


@dataclass
class Look:
    """Input and output of a mechanism for one image.

    Attributes:
        attention: the mechanism, of the class that its drawer is for.
        x: input features, (1, C, *S).
        gate: the decoder's coarser signal.
        result: output of the mechanism.
        other: its output for the same image with the other marker.
        image: intensities.
        reference: class of every pixel; 1 are the targets, 2 the rest of the organ.
    """

    attention: Any
    x: Tensor
    gate: Tensor
    result: Attended
    other: Attended
    image: Array
    reference: Array

    @property
    def weights(self) -> Array:
        """The weights, (C, i, j)."""
        return some(self.result.weights)[0].numpy()

    def pixel(self) -> tuple[int, int]:
        """Return the pixel of the level's grid at the first target."""
        i, j = np.argwhere(self.reference == 1)[2]
        return int(i * self.x.shape[2] / len(self.image)), int(j * self.x.shape[3] / self.image.shape[1])


def draw(look: Look, name: str) -> Figure:
    """Draw the five panels."""
    figure = Figure(figsize=(11.5, 2.5), dpi=80, layout="constrained")
    axes = figure.subplots(1, 5)
    show(axes[0], look.image, "image; organ and targets", look, cmap="gray")
    axes[0].contour(look.reference == 1, levels=[0.5], colors="orange", linewidths=0.8)
    before, after = (features[0].square().mean(dim=0).sqrt().numpy() for features in (look.x, look.result.features))
    high = float(max(before.max(), after.max()))
    show(axes[1], before, "features before, rms", look, 0, high, cmap="viridis")
    show(axes[4], after, "features after, rms", look, 0, high, cmap="viridis")
    with torch.inference_mode():
        drawer_of(look.attention)(look, axes[2:4])
    figure.suptitle(f"{name} on the skip of level {LEVEL}", fontsize=9)
    return figure


def drawer_of(attention: Attention) -> Callable[[Look, list[Axes]], None]:
    """Return the drawing function of a mechanism: that of its class if there is one, otherwise that of its kind."""
    special: list[tuple[type[nn.Module], Callable[[Look, list[Axes]], None]]] = [
        (ContextEncoding, draw_codewords),
        (MultiGate, draw_gates),
        (HardGate, draw_hard),
        (Recursive, draw_steps),
        (PairwiseAttention, draw_pairs),
        (DeformableAttention, draw_points),
        (SpatialTransformer, draw_box),
        (Glimpse, draw_looks),
        (StateSpace, draw_map),
    ]
    for kind, drawer in special:
        if isinstance(attention, kind):
            return drawer
    kinds = {"channel": draw_channels, "kernel": draw_channels, "spatial": draw_map, "pairwise": draw_received}
    return {**kinds, "mixed": draw_mixed, "identity": draw_nothing}[attention.kind]


def draw_nothing(look: Look, axes: list[Axes]) -> None:
    """Draw a mechanism without weights."""
    for panel in axes:
        panel.set_axis_off()
    axes[0].text(0, 0.5, "nothing is weighted", fontsize=9)


def draw_map(look: Look, axes: list[Axes]) -> None:
    """Draw one map, on a fixed scale and on a stretched scale."""
    low, high = scale_of(look.weights)
    show(axes[0], look.weights[0], f"weights, {low:g} to {high:g}", look, low, high)
    show(axes[1], look.weights[0], "weights, stretched", look)


def draw_received(look: Look, axes: list[Axes]) -> None:
    """Draw what each pixel receives; 1 is an equal share."""
    show(axes[0], look.weights[0], "received from all, 0 to 3 shares", look, 0, 3)
    show(axes[1], look.weights[0], "received, stretched", look)


def draw_mixed(look: Look, axes: list[Axes]) -> None:
    """Draw the mean over channels, and the channel with the largest variation."""
    weights = look.weights
    low, high = scale_of(weights)
    show(axes[0], weights.mean(axis=0), f"mean over channels, {low:g} to {high:g}", look, low, high)
    most = int(weights.std(axis=(1, 2)).argmax())
    show(axes[1], weights[most], f"channel {most}, stretched", look)


def draw_channels(look: Look, axes: list[Axes]) -> None:
    """Draw channel weights as bars, and their difference from those of the image with the other marker."""
    here, there = (some(result.weights).flatten().numpy() for result in (look.result, look.other))
    draw_bars(look, axes[0])
    axes[1].bar(range(len(here)), (here - there)[here.argsort()[::-1]], color="tab:gray")
    axes[1].set_title("this image less the other", fontsize=8)
    axes[1].set_xlabel("channels, sorted", fontsize=7)
    axes[1].tick_params(labelsize=6)


def draw_bars(look: Look, panel: Axes) -> None:
    """Draw the sorted weights of the channels, and those for the image with the other marker."""
    here, there = (some(result.weights).flatten().numpy() for result in (look.result, look.other))
    order = here.argsort()[::-1]
    highest = max(here.max(), there.max())
    high = next(edge for edge in (1.0, 2.0, 2 * highest) if edge >= highest)
    middle = 1.0 if high == 2 else 0.0
    panel.bar(range(len(here)), here[order] - middle, bottom=middle, color="tab:blue", label="this image")
    panel.plot(range(len(here)), there[order], "k.", label="other marker")
    panel.set_ylim(0, high)
    panel.set_title(f"weight of each channel, 0 to {high:.2g}", fontsize=8)
    panel.set_xlabel("channels, sorted", fontsize=7)
    panel.tick_params(labelsize=6)
    panel.legend(fontsize=6, loc="lower left")


def draw_codewords(look: Look, axes: list[Axes]) -> None:
    """Draw the codeword with the largest share in each pixel, and the channel weights."""
    attention = look.attention
    nearest = attention.assignment(look.x)[0].argmax(dim=0).numpy()
    present = np.unique(nearest)
    show(axes[0], np.searchsorted(present, nearest), f"{len(present)} codewords in use", look, cmap="tab20")
    draw_bars(look, axes[1])


def draw_gates(look: Look, axes: list[Axes]) -> None:
    """Draw the map of each gate."""
    for i, (panel, gate) in enumerate(zip(axes, look.attention.gates, strict=True)):
        show(panel, some(gate(look.x, look.gate).weights)[0, 0].numpy(), f"gate {i + 1}, 0 to 1", look, 0, 1)


def draw_hard(look: Look, axes: list[Axes]) -> None:
    """Draw the open cells, and the probability of each cell to be open in training."""
    alpha = torch.sigmoid(look.attention.logits(look.x, look.gate))[0, 0].numpy()
    show(axes[0], look.weights[0], "mask in use, 0 or 1", look, 0, 1)
    show(axes[1], alpha, "probability in training, 0 to 1", look, 0, 1)


def draw_steps(look: Look, axes: list[Axes]) -> None:
    """Draw the weights of the first and the last step."""
    steps = look.attention.steps(look.x, look.gate, True)
    for panel, i in zip(axes, (0, len(steps) - 1), strict=True):
        show(panel, some(steps[i].weights)[0, 0].numpy(), f"step {i + 1}, 0 to 1", look, 0, 1)


def draw_pairs(look: Look, axes: list[Axes]) -> None:
    """Draw the mean attention of all pixels, and the attention of one pixel; 1 is an equal share."""
    show(axes[0], look.weights[0], "received from all, 0 to 3 shares", look, 0, 3)
    i, j = look.pixel()
    row = look.attention.row(look.x, look.gate, (i, j))[0, 0].numpy()
    show(axes[1], row * row.size, "a target (+) looks here, 0 to 10", look, 0, 10)
    rows, columns = (n / m for n, m in zip(row.shape, look.x.shape[2:], strict=True))
    axes[1].plot([(j + 0.5) * columns - 0.5], [(i + 0.5) * rows - 0.5], "c+", markersize=9)


def draw_points(look: Look, axes: list[Axes]) -> None:
    """Draw the attention that each pixel receives, and lines from some pixels to their points."""
    attention = look.attention
    show(axes[0], look.weights[0], "received from all, 0 to 3 shares", look, 0, 3)
    rows, columns = look.x.shape[2:]
    show(axes[1], np.zeros((rows, columns)), "points of some pixels", look, 0, 1, cmap="gray")
    positions, share = attention.look_at(look.x)
    for i in range(rows // 8, rows, rows // 4):
        for j in range(columns // 8, columns, columns // 4):
            for points, shares in zip(positions[..., i, j].tolist(), share[..., i, j].tolist(), strict=True):
                for (to_i, to_j), weight in zip(points, shares, strict=True):
                    axes[1].plot([j, to_j], [i, to_i], color="orange", linewidth=4 * weight)
    axes[1].set_xlim(-0.5, columns - 0.5)
    axes[1].set_ylim(rows - 0.5, -0.5)


def draw_box(look: Look, axes: list[Axes]) -> None:
    """Draw the box on the image, and the weights: 1 inside the box."""
    centre, extent = look.attention.box(look.x)
    show(axes[0], look.image, "the box", look, cmap="gray")
    outline(axes[0], look.image.shape, centre[0].tolist(), extent[0].tolist(), 2)
    show(axes[1], look.weights[0], "inside the box, 0 to 1", look, 0, 1)


def draw_looks(look: Look, axes: list[Axes]) -> None:
    """Draw the positions in the order of the looks, and the weights."""
    centres, extents = look.attention.look(look.x)
    show(axes[0], look.image, "places looked at, last thickest", look, cmap="gray")
    for t, (centre, extent) in enumerate(zip(centres[0].tolist(), extents[0].tolist(), strict=True)):
        outline(axes[0], look.image.shape, centre, extent, 0.7 * (t + 1))
    show(axes[1], look.weights[0], "weights, 0 to 1", look, 0, 1)


def show(
    panel: Axes,
    values: Array,
    title: str,
    look: Look,
    low: float | None = None,
    high: float | None = None,
    cmap: str = "inferno",
) -> None:
    """Draw a map (i, j) with a bar of its colours and the outline of the organ."""
    drawn = panel.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    if panel.figure is not None:
        panel.figure.colorbar(drawn, ax=panel, shrink=0.8).ax.tick_params(labelsize=6)
    rows, columns = (
        (np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(values.shape, look.reference.shape, strict=True)
    )
    panel.contour(columns, rows, look.reference > 0, levels=[0.5], colors="cyan", linewidths=0.8)
    panel.set_title(title, fontsize=8)
    panel.set_xticks([])
    panel.set_yticks([])


def outline(panel: Axes, shape: tuple[int, ...], centre: list[float], extent: list[float], width: float) -> None:
    """Draw a box, given in units of half the grid from its middle."""
    i, j = ((c - e + 1) * n / 2 - 0.5 for c, e, n in zip(centre, extent, shape, strict=True))
    height, breadth = (e * n for e, n in zip(extent, shape, strict=True))
    panel.add_patch(Rectangle((j, i), breadth, height, fill=False, edgecolor="orange", linewidth=width))
    panel.set_xlim(-2, shape[1] + 1)
    panel.set_ylim(shape[0] + 1, -2)


def some(weights: Tensor | None) -> Tensor:
    """Return the weights.

    Raises:
        ValueError: if there are none.
    """
    if weights is None:
        raise ValueError("nothing is weighted")
    return weights


def scale_of(weights: Array) -> tuple[float, float]:
    """Return the fixed range of the scale: 0 to 1, or 0 to 2 if a weight is above 1."""
    return 0.0, 1.0 if weights.max() <= 1 else 2.0
