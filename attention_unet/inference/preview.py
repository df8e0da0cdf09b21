"""Draw a preview of a prediction: three planes of the scan with the labels, oriented as in radiology."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume

EDGE = 320  # pixels of the longest edge of a plane
GAP = 8
LINE = 18  # pixels, of the legend
OPACITY = 0.4
SAMPLES = 128  # voxels along an axis from which the range of greys is computed
Array = NDArray[np.generic]


def draw_preview(volume: Volume, label_map: Array, labels: Labels) -> Image.Image:
    """Draw a scan and a label map on its grid, in the planes that show most of the labels.

    The first channel of the scan that is not empty is drawn.
    """
    scan_grid = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0))
    shown_channel = next((channel for channel in volume.array if channel.any()), volume.array[0])
    image, label_map = scan_grid.orient(shown_channel), scan_grid.orient(label_map)
    low, high = np.percentile(image[tuple(slice(None, None, -(-n // SAMPLES)) for n in image.shape)], [0.5, 99.5])
    scale = EDGE / max(n * mm for n, mm in zip(image.shape, scan_grid.scan_mm, strict=True))
    shown = []
    for across in (2, 1, 0):
        right, up = (axis for axis in range(3) if axis != across)
        areas = np.count_nonzero(label_map, axis=(right, up))
        plane = int(areas.argmax()) if areas.any() else image.shape[across] // 2
        size = tuple(max(round(image.shape[axis] * scan_grid.scan_mm[axis] * scale), 1) for axis in (right, up))
        grey, mask = (np.moveaxis(array, across, 0)[plane].T[::-1, ::-1] for array in (image, label_map))
        grey = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
        base = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        index = Image.fromarray(labels.index(mask)).resize(size, Image.Resampling.NEAREST)
        shown.append(_coloured(np.asarray(base), np.asarray(index), len(labels.names)))
        _name_sides(shown[-1], "AP" if across == 0 else "RL")
    return _side_by_side(shown, labels)


def _coloured(grey: NDArray[np.uint8], index: NDArray[np.uint8], classes: int) -> Image.Image:
    """Return a grey plane with its classes: light inside, opaque at their borders."""
    padded = np.pad(index, 1, mode="edge")
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    border = np.logical_or.reduce([neighbour != index for neighbour in neighbours])
    opacity = np.where(border, 255, 255 * OPACITY).astype(np.uint8) * (index > 0)
    colours = Image.fromarray(index)
    colours.putpalette([0, 0, 0, *(value for i in range(classes) for value in ImageColor.getrgb(colour_of(i)))])
    plane = Image.fromarray(grey).convert("RGB")
    return Image.composite(colours.convert("RGB"), plane, Image.fromarray(opacity))


def _name_sides(plane: Image.Image, sides: str) -> None:
    """Write the sides of the patient at the edges of a plane: left and right, or anterior and posterior."""
    draw, y = ImageDraw.Draw(plane), plane.height // 2
    for side, x, anchor in zip(sides, (2, plane.width - 3), ("lm", "rm"), strict=True):
        draw.text((x, y), side, fill="white", anchor=anchor, stroke_width=1, stroke_fill="black")


def _side_by_side(planes: list[Image.Image], labels: Labels) -> Image.Image:
    width = sum(plane.width for plane in planes) + GAP * (len(planes) + 1)
    per_row = max(width // 160, 1)
    rows = -(-len(labels.names) // per_row)
    height = max(plane.height for plane in planes)
    whole = Image.new("RGB", (width, height + 2 * GAP + LINE * rows), "black")
    left = GAP
    for plane in planes:
        whole.paste(plane, (left, GAP + (height - plane.height) // 2))
        left += plane.width + GAP
    draw = ImageDraw.Draw(whole)
    for i, name in enumerate(labels.names):
        x, y = GAP + i % per_row * 160, height + 2 * GAP + LINE * (i // per_row)
        draw.rectangle((x, y, x + 10, y + 10), fill=colour_of(i))
        draw.text((x + 15, y - 1), name if len(name) <= 22 else f"{name[:21]}…", fill="white")
    return whole
