"""Draw pictures of cases: image, reference, prediction and attention, with one row per case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.label_table import colour_of

HIGHEST = 2**16  # weights above, and infinite ones, are drawn like this one


@dataclass(frozen=True)
class Scene:
    """Arrays (I, J, K) of a case that are drawn. All have the grid of the affine."""

    title: str  # beside the row
    affine: NDArray[np.float64]  # 4 x 4, from voxel (i, j, k) to RAS+ mm
    image: NDArray[np.generic]  # one channel
    reference: NDArray[np.generic]  # class indices, 0 for background
    prediction: NDArray[np.generic]  # class indices, 0 for background
    attention: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # weights of at least 0, by place
    image_title: str = "image"  # above the image


def draw_mosaic(scenes: Sequence[Scene], class_names: Sequence[str]) -> Figure:
    """Draw one row per case: image, reference, prediction, and attention at each place if there is any.

    The patient's left is on the right of the picture, as in radiology; in sagittal slices, the back is. The slice is
    perpendicular to the axis with the largest voxels. Its position is that of ``most_informative_plane``. Attention is
    drawn from 0 to 1, or to the next power of 2 if some weights are above 1. The range is in the title.
    """
    places = list(dict.fromkeys(name for scene in scenes for name in scene.attention))
    columns = 3 + len(places)
    figure = Figure(figsize=(2.3 * columns, 2.3 * len(scenes) + 0.5), dpi=110, layout="constrained")
    colours = ListedColormap([colour_of(i) for i in range(max(len(class_names), 1))])
    axes = figure.subplots(len(scenes), columns, squeeze=False)
    highest = upper_bound(max((float(w.max()) for scene in scenes for w in scene.attention.values()), default=1.0))
    for row, scene in zip(axes, scenes, strict=True):
        _draw_row(row, scene, colours, len(class_names), places, highest)
    handles = [Patch(color=colours(i)) for i in range(len(class_names))]
    figure.legend(handles, class_names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure


def cut_to_shown_plane(scene: Scene) -> Scene:
    """Return a scene with the plane that is drawn only, because whole scans take much memory."""
    scan_grid = fit_grid(scene.affine, scene.image.shape, (1.0, 1.0, 1.0))
    across = _axis_across(scan_grid.scan_mm)
    plane = most_informative_plane(scan_grid.orient(scene.reference), across)

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        return scan_grid.as_stored(scan_grid.orient(array).take([plane], axis=across))

    maps = {place: cut(weights) for place, weights in scene.attention.items()}
    image, reference, prediction = (cut(each) for each in (scene.image, scene.reference, scene.prediction))
    return replace(scene, image=image, reference=reference, prediction=prediction, attention=maps)


def _axis_across(spacing_mm: Sequence[float]) -> int:
    """Return the axis with the largest voxels; the last of equal ones (but for rounding), which gives axial slices."""
    return 2 - int(np.round(spacing_mm, 3)[::-1].argmax())


def upper_bound(highest: float) -> int:
    """Return the smallest of 1, 2, 4, 8 ... that is at least the highest weight; at most ``HIGHEST``."""
    bound = 1
    while bound < min(highest - 1e-3, HIGHEST):  # rounding in resampling and sums may exceed 1 a little
        bound *= 2
    return bound


def most_informative_plane(reference: NDArray[np.generic], across: int) -> int:
    """Return the plane that shows most of all classes: the largest sum of areas, each divided by its maximum.

    Without any class, return the middle plane.
    """
    inside = tuple(axis for axis in range(3) if axis != across)
    areas = [(reference == value).sum(axis=inside) for value in np.unique(reference) if value > 0]
    if not areas:
        return int(reference.shape[across]) // 2
    return int(sum(area / area.max() for area in areas).argmax())


def _draw_row(
    row: Sequence[Axes], scene: Scene, colours: ListedColormap, classes: int, places: Sequence[str], highest: int
) -> None:
    """Draw a case into the axes of its row."""
    arrays = [scene.image, scene.reference, scene.prediction, *scene.attention.values()]
    scan_grid = fit_grid(scene.affine, scene.image.shape, (1.0, 1.0, 1.0))
    oriented = [scan_grid.orient(array) for array in arrays]
    spacing = np.array(scan_grid.scan_mm)
    across = _axis_across(scan_grid.scan_mm)
    inside = tuple(axis for axis in range(3) if axis != across)
    plane = most_informative_plane(oriented[1], across)
    # Columns follow the first axis within the slice, reversed: the right or the front of the patient is on the left.
    slices = [np.take(array, plane, axis=across).T[:, ::-1] for array in oriented]
    aspect = float(spacing[inside[1]] / spacing[inside[0]])
    background = slices[0]
    low, high = np.percentile(background, [0.5, 99.5])
    maps = dict(zip(scene.attention, slices[3:], strict=True))
    titles = [
        scene.image_title,
        "reference",
        "prediction",
        *(f"attention, {place} (0 to {highest})" for place in places),
    ]
    for i, (axes, title) in enumerate(zip(row, titles, strict=True)):
        axes.set_xticks([])
        axes.set_yticks([])
        attention = maps.get(places[i - 3]) if i > 2 else None
        if i > 2 and attention is None:
            axes.set_axis_off()
            continue
        axes.set_title(title, fontsize=9)
        axes.imshow(background, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", aspect=aspect)
        if i in (1, 2):
            mask = np.ma.masked_equal(slices[i], 0)
            axes.imshow(
                mask - 1, cmap=colours, vmin=-0.5, vmax=classes - 0.5, alpha=0.65, origin="lower", aspect=aspect
            )
        if attention is not None:
            axes.imshow(attention, cmap="inferno", vmin=0, vmax=highest, origin="lower", aspect=aspect)
            if min(slices[1].shape) > 1:  # a line of voxels has no outline
                axes.contour(slices[1] > 0, levels=[0.5], colors="deepskyblue", linewidths=0.9)
    for side, x in zip("AP" if across == 0 else "RL", (0.03, 0.97), strict=True):
        letter = row[0].text(x, 0.5, side, transform=row[0].transAxes, color="white", fontsize=9, ha="center")
        letter.set_path_effects([withStroke(linewidth=2, foreground="black")])
    row[0].set_ylabel(scene.title, fontsize=8)
