"""Keep of a class the largest connected piece: right where an organ is one, wrong where lesions are many."""

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BY_CORNERS = np.ones((3, 3, 3))  # voxels that share a corner belong together


def without_smaller_pieces(label_map: NDArray[np.generic], values: Sequence[int]) -> NDArray[np.generic]:
    """A label map (I, J, K) of which each of some values keeps its largest piece; the rest becomes background."""
    cleaned: NDArray[np.generic] = label_map.copy()
    for value, box in enumerate(ndimage.find_objects(label_map), start=1):
        if box is not None and value in values:
            pieces, count = ndimage.label(label_map[box] == value, BY_CORNERS)
            if count > 1:
                sizes = np.zeros(count + 1, dtype=np.int64)
                for plane in pieces:  # of all at once, what is counted would be copied
                    sizes += np.bincount(plane.ravel(), minlength=count + 1)
                largest = np.argmax(sizes[1:]) + 1
                cleaned[box][(pieces > 0) & (pieces != largest)] = 0
    return cleaned


def where_it_helps(
    dice: Mapping[str, Sequence[float]], cleaned: Mapping[str, Sequence[float]], names: Sequence[str]
) -> list[str]:
    """Classes whose Dice is better with their largest piece alone, by more than the standard error of the difference.

    Args:
        dice: of each case, of each class, NaN where it is undefined.
        cleaned: the same, of the largest pieces.
        names: of the classes.
    """
    helped = []
    for index, name in enumerate(names):
        gains = [cleaned[case][index] - dice[case][index] for case in dice]
        gains = [gain for gain in gains if not math.isnan(gain)]
        if len(gains) > 1 and statistics.mean(gains) > statistics.stdev(gains) / math.sqrt(len(gains)):
            helped.append(name)
    return helped
