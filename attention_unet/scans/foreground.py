"""Find the background value of an image, and the box of the other voxels."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BY_CORNERS = np.ones((3, 3, 3))  # voxels that share a corner are connected


def bounding_box(mask: NDArray[np.bool_], margin: int | Sequence[int] = 0) -> tuple[slice, slice, slice]:
    """Return the smallest box that contains all true voxels of a mask (I, J, K), and a margin of voxels around it.

    It may end outside of the grid. It is empty if no voxel is true. ``margin``: one, or one for each axis.
    """
    projected = np.logical_or.reduce(mask)
    occupied = mask.any(axis=(1, 2)), projected.any(axis=1), projected.any(axis=0)
    if not occupied[0].any():
        return slice(0, 0), slice(0, 0), slice(0, 0)
    ends = [np.flatnonzero(each)[[0, -1]].tolist() for each in occupied]
    margins = np.broadcast_to(margin, 3).tolist()
    i, j, k = (slice(max(low - n, 0), high + 1 + n) for (low, high), n in zip(ends, margins, strict=True))
    return i, j, k


def find_background(image: Tensor) -> Tensor:
    """Return the value of the background of each channel of an image (C, *S): (C,).

    It is the value of most voxels on the faces of the volume, such as the 0 around a masked or padded scan, if at least
    two thirds of the other voxels are brighter; or a quarter if it fills a tenth of the volume, as the 0 around a head
    with a mean of 0 does. Without such a value, it is the lowest value.
    """
    found = image.amin(dim=(1, 2, 3))
    faces = torch.cat([image.select(axis, end).flatten(1) for axis in (1, 2, 3) for end in (0, -1)], dim=1)
    for number, (channel, face) in enumerate(zip(image, faces, strict=True)):
        values, counts = face.unique(return_counts=True)
        common = values[counts.argmax()]
        if 2 * counts.max() <= face.numel():
            continue
        brighter, darker = torch.count_nonzero(channel > common), torch.count_nonzero(channel < common)
        fills = 10 * (channel.numel() - brighter - darker) >= channel.numel()
        if brighter >= 2 * darker or (fills and 3 * brighter >= darker):
            found[number] = common
    return found


def foreground_box(image: Tensor, background: Tensor) -> list[tuple[int, int]]:
    """Return the box of all voxels brighter than the background of their channel, as (start, stop) along each axis.

    Darker voxels count, too, where they are more than a third of all others; fewer are strays. The image is (C, *S). If
    there is no such voxel, the box is the whole grid.
    """
    found = torch.zeros(image.shape[1:], dtype=torch.bool)
    for channel, value in zip(image, background, strict=True):
        brighter, darker = channel > value, channel < value
        found |= brighter
        if 2 * torch.count_nonzero(darker) > torch.count_nonzero(brighter):
            found |= darker
    mask: NDArray[np.bool_] = found.numpy()  # any() of NumPy is faster than that of torch
    box = [(edge.start, edge.stop) for edge in bounding_box(mask)]
    return box if all(start < stop for start, stop in box) else [(0, n) for n in mask.shape]
