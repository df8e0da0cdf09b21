"""Draw each kind of attention in three panels, on fixed scales that are stated."""

from collections.abc import Callable
from dataclasses import dataclass

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
from attention_unet.attention.spatial.hard_gate import HardGate
from attention_unet.attention.spatial.multi_gate import MultiGate
from attention_unet.attention.wrappers.recursive import Recursive

LEVEL = 1
PANELS = 3
Array = NDArray[np.float32]


@dataclass
class Look:
    """Input and output of a mechanism for one slice.

    Attributes:
        attention: the mechanism.
        x: input features, (1, C, *S).
        gate: the decoder's coarser signal.
        result: output of the mechanism.
        elsewhere: its output for a slice at the edge of the head.
        image: intensities of the slice.
        reference: class index of every pixel.
        spacing_mm: size of a pixel of the slice in mm.
    """

    attention: Attention
    x: Tensor
    gate: Tensor
    result: Attended
    elsewhere: Attended
    image: Array
    reference: Array
    spacing_mm: float

    def voxel(self) -> tuple[int, int]:
        """Return the pixel of the level's grid at the mean position of the rarest class."""
        rarest = min((c for c in np.unique(self.reference) if c), key=lambda c: int((self.reference == c).sum()))
        middle = np.argwhere(self.reference == rarest).mean(axis=0)
        grid = np.array(self.x.shape[2:])
        i, j = np.minimum((middle * grid / np.array(self.image.shape)).astype(int), grid - 1)
        return int(i), int(j)


def draw(look: Look, name: str) -> Figure:
    """Draw the slice with its reference, then two panels that suit the mechanism."""
    figure = Figure(figsize=(7.4, 2.6), dpi=80, layout="constrained")
    axes = figure.subplots(1, PANELS)
    show(axes[0], look.image, "slice, reference outlined", cmap="gray", look=look)
    with torch.inference_mode():
        drawer_of(look.attention)(look, axes[1:])
    figure.suptitle(f"{name}: level {LEVEL}, pixels of {2 * look.spacing_mm:.1f} mm", fontsize=9)
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
    ]
    for kind, drawer in special:
        if isinstance(attention, kind):
            return drawer
    return {"channel": draw_channels, "spatial": draw_map, "mixed": draw_mixed, "identity": draw_nothing}[
        attention.kind
    ]


def draw_nothing(look: Look, axes: list[Axes]) -> None:
    """Draw a mechanism without weights."""
    for panel in axes:
        panel.set_axis_off()
    axes[0].text(0, 0.5, "nothing is weighted", fontsize=9)


def draw_map(look: Look, axes: list[Axes]) -> None:
    """Draw one map, on a fixed scale and on a stretched scale."""
    weights = weights_of(look)
    low, high = scale_of(weights)
    show(axes[0], weights, f"weights, {low:g} to {high:g}", low, high, look=look)
    show(axes[1], weights, f"stretched, {weights.min():.3f} to {weights.max():.3f}", look=look)


def draw_mixed(look: Look, axes: list[Axes]) -> None:
    """Draw the mean over channels, and the channel with the largest variation."""
    weights = some(look.result.weights)[0].numpy()
    low, high = scale_of(weights)
    show(axes[0], weights.mean(axis=0), f"mean over channels, {low:g} to {high:g}", low, high, look=look)
    most = int(weights.std(axis=(1, 2)).argmax())
    show(axes[1], weights[most], f"channel {most}, {low:g} to {high:g}", low, high, look=look)


def draw_channels(look: Look, axes: list[Axes]) -> None:
    """Draw channel weights as bars, and their difference from those of another slice."""
    draw_bars(look, axes[0])
    here, there = (some(r.weights).flatten().numpy() for r in (look.result, look.elsewhere))
    axes[1].bar(range(len(here)), (here - there)[here.argsort()[::-1]], color="tab:gray")
    axes[1].set_title("this slice less the other", fontsize=8)
    axes[1].set_xlabel("channels, sorted", fontsize=7)
    axes[1].tick_params(labelsize=6)


def draw_bars(look: Look, panel: Axes) -> None:
    """Draw the sorted weights of the channels, and the weights of the same channels for another slice."""
    here, there = (some(r.weights).flatten().numpy() for r in (look.result, look.elsewhere))
    order = here.argsort()[::-1]
    high = 1.0 if max(here.max(), there.max()) <= 1 else 2.0
    middle = 1.0 if high == 2 else 0.0
    panel.bar(range(len(here)), here[order] - middle, bottom=middle, color="tab:blue", label="this slice")
    panel.plot(range(len(here)), there[order], "k.", label="a slice of the crown")
    panel.set_ylim(0, high)
    panel.set_title(f"weight a channel, 0 to {high:g}", fontsize=8)
    panel.set_xlabel("channels, sorted", fontsize=7)
    panel.tick_params(labelsize=6)
    panel.legend(fontsize=6, loc="lower left")


def draw_codewords(look: Look, axes: list[Axes]) -> None:
    """Draw the codeword with the largest share in each pixel, and the channel weights."""
    attention = look.attention
    if isinstance(attention, ContextEncoding):
        nearest = attention.assignment(look.x)[0].argmax(dim=0).numpy().astype(np.float32)
        show(axes[0], nearest, "codeword of largest share", cmap="tab20", look=look)
        draw_bars(look, axes[1])


def draw_gates(look: Look, axes: list[Axes]) -> None:
    """Draw the map of each gate."""
    if isinstance(look.attention, MultiGate):
        for i, (panel, part) in enumerate(zip(axes, look.attention.attend_each(look.x, look.gate), strict=True)):
            show(panel, some(part.weights)[0, 0].numpy(), f"gate {i + 1}, 0 to 1", 0, 1, look=look)


def draw_hard(look: Look, axes: list[Axes]) -> None:
    """Draw the open cells, and the probability of each cell to be open in training."""
    if isinstance(look.attention, HardGate):
        alpha = torch.sigmoid(look.attention.logits(look.x, look.gate))[0, 0].numpy()
        show(axes[0], weights_of(look), "mask in use, 0 or 1", 0, 1, look=look)
        show(axes[1], alpha, "probability in training, 0 to 1", 0, 1, look=look)


def draw_steps(look: Look, axes: list[Axes]) -> None:
    """Draw the weights of the first and the last step."""
    if isinstance(look.attention, Recursive):
        steps = look.attention.steps(look.x, look.gate)
        for panel, i in zip(axes, (0, len(steps) - 1), strict=True):
            show(panel, some(steps[i].weights)[0, 0].numpy(), f"step {i + 1}, 0 to 1", 0, 1, look=look)


def draw_pairs(look: Look, axes: list[Axes]) -> None:
    """Draw the mean attention of all pixels, and the attention of one pixel; 1 is an equal share."""
    if isinstance(look.attention, PairwiseAttention):
        show(axes[0], weights_of(look), "received from all, 0 to 3 equal shares", 0, 3, look=look)
        voxel = look.voxel()
        row = look.attention.row(look.x, look.gate, voxel)[0, 0].numpy()
        show(axes[1], row * row.size, "one pixel (+) looks here, 0 to 3", 0, 3, look=look)
        x, y = place(voxel, look.x.shape[2:], row.shape)
        axes[1].plot([x], [y], "c+", markersize=9)


def draw_points(look: Look, axes: list[Axes]) -> None:
    """Draw the attention that each pixel receives, and lines from some pixels to their points."""
    attention = look.attention
    if isinstance(attention, DeformableAttention):
        show(axes[0], weights_of(look), "received from all, 0 to 3 equal shares", 0, 3, look=look)
        show(axes[1], np.zeros(look.x.shape[2:], np.float32), "points of some pixels", 0, 1, cmap="gray", look=look)
        positions, share = attention.look_at(look.x)
        rows, columns = look.x.shape[2:]
        for i in range(rows // 8, rows, rows // 4):
            for j in range(columns // 8, columns, columns // 4):
                for points, shares in zip(positions[..., i, j].tolist(), share[..., i, j].tolist(), strict=True):
                    for (to_i, to_j), weight in zip(points, shares, strict=True):
                        ends = [rows - 1 - i, rows - 1 - to_i], [j, to_j]
                        axes[1].plot(*ends, color="tab:orange", linewidth=4 * weight, solid_capstyle="butt")
        axes[1].set_xlim(-0.5, rows - 0.5)
        axes[1].set_ylim(-0.5, columns - 0.5)


def draw_box(look: Look, axes: list[Axes]) -> None:
    """Draw the box on the slice, and the weights: 1 inside the box."""
    if isinstance(look.attention, SpatialTransformer):
        centre, extent = look.attention.box(look.x)
        show(axes[0], look.image, "the box", cmap="gray", look=look)
        outline(axes[0], look.image.shape, centre[0].tolist(), extent[0].tolist(), "tab:orange")
        show(axes[1], weights_of(look), "inside the box, 0 to 1", 0, 1, look=look)


def draw_looks(look: Look, axes: list[Axes]) -> None:
    """Draw the positions in the order of the looks, and the weights."""
    if isinstance(look.attention, Glimpse):
        centres, extents = look.attention.look(look.x)
        show(axes[0], look.image, "places looked at, last thickest", cmap="gray", look=look)
        for t, (centre, extent) in enumerate(zip(centres[0].tolist(), extents[0].tolist(), strict=True)):
            outline(axes[0], look.image.shape, centre, extent, "tab:orange", 0.7 * (t + 1))
        show(axes[1], weights_of(look), "weights, 0 to 1", 0, 1, look=look)


def show(
    panel: Axes,
    values: Array,
    title: str,
    low: float | None = None,
    high: float | None = None,
    cmap: str = "inferno",
    *,
    look: Look,
) -> None:
    """Draw a map (i, j) in radiological view, patient's left on the right, with the outline of the reference."""
    panel.imshow(values.T[:, ::-1], origin="lower", cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    scale = [n / m for n, m in zip(values.shape, look.reference.shape, strict=True)]
    reference = look.reference.T[:, ::-1] > 0
    columns = (np.arange(reference.shape[1]) + 0.5) * scale[0] - 0.5
    rows = (np.arange(reference.shape[0]) + 0.5) * scale[1] - 0.5
    panel.contour(columns, rows, reference, levels=[0.5], colors="cyan", linewidths=0.6)
    panel.set_title(title, fontsize=8)
    panel.set_xticks([])
    panel.set_yticks([])


def outline(
    panel: Axes, shape: tuple[int, ...], centre: list[float], extent: list[float], colour: str, width: float = 2
) -> None:
    """Draw a box, given in units of half the grid, on an image drawn by ``show``."""
    low = [(c - e + 1) * n / 2 for c, e, n in zip(centre, extent, shape, strict=True)]
    size = [e * n for e, n in zip(extent, shape, strict=True)]
    left = shape[0] - low[0] - size[0] - 0.5
    panel.add_patch(Rectangle((left, low[1] - 0.5), *size, fill=False, edgecolor=colour, linewidth=width))
    panel.set_xlim(-0.5, shape[0] - 0.5)
    panel.set_ylim(-0.5, shape[1] - 0.5)


def place(voxel: tuple[int, int], grid: torch.Size, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the position at which ``show`` draws a voxel of a grid on a map of another shape."""
    i, j = ((v + 0.5) * m / n - 0.5 for v, n, m in zip(voxel, grid, shape, strict=True))
    return shape[0] - 1 - i, j


def weights_of(look: Look) -> Array:
    """Return the weights as a map (i, j)."""
    return some(look.result.weights)[0, 0].numpy()


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
