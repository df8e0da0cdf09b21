"""In how many strips to predict a scan, so that it takes no more memory than it may.

What is held for the windows of a model is as deep as a window, but as wide as the scan. A scan too wide for that is
predicted strip by strip: by the windows that touch it, once more those on the border of two.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attention_unet.data.volumes import Volume
from attention_unet.errors import DataError
from attention_unet.geometry import AT_ONCE, Placement

log = logging.getLogger(__name__)

# Bytes of a window's voxel that a forward pass holds for each channel of the finest level, in float32 or in half, and
# for each value that is given: measured on networks of 8 to 32 channels.
PER_CHANNEL = {True: 15, False: 30}
PER_VALUE = 20
BATCH = 2  # windows at once, where memory allows it
WORKSPACE = 4 * 10 * AT_ONCE  # what the work on a few planes holds
SPARE = 1.1  # times; of what the C library does not give back


@dataclass(frozen=True)
class Load:
    """What the prediction by a model is made of.

    Attributes:
        placement: of all its grid in the scan.
        window: its voxels, (*S).
        features: channels of the finest level of its network.
        values: given for each voxel, probabilities and attention.
        fast: whether it computes in half precision.
    """

    placement: Placement
    window: tuple[int, ...]
    features: int
    values: int
    fast: bool

    @property
    def of_windows(self) -> int:
        """Bytes that a forward pass holds, for each window at once."""
        a_voxel = PER_CHANNEL[self.fast] * self.features + PER_VALUE * self.values
        return math.prod(self.window) * a_voxel

    def of_planes(self, rows: slice) -> int:
        """Bytes of the planes of a strip that are not yet finished, or not yet told."""
        start, stop = self.placement.rows_for(rows)
        unfinished = (self.values + 1) * self.window[0] * (stop - start) * self.placement.grid[2]
        return 4 * (unfinished + 4 * AT_ONCE)


def choose_strips(volume: Volume, loads: Sequence[Load], told: int, memory: int) -> tuple[list[slice], int]:
    """As few strips of about as many rows each as memory allows, and before there are two, one window at once.

    Args:
        volume: to predict.
        loads: of each model.
        told: bytes a voxel of all that is told of the scan.
        memory: bytes that may be held, the volume included.

    Returns:
        Rows of each strip along the second RAS+ axis of the scan, and how many windows to predict at once.

    Raises:
        DataError: if even strips of a single row take more.
    """
    rows = loads[0].placement.scan[1]
    needed = 0
    for count, batch in [(1, BATCH), *((count, 1) for count in _rising(rows))]:
        edges = [round(i * rows / count) for i in range(count + 1)]
        strips = [slice(a, b) for a, b in itertools.pairwise(edges)]
        widest = max(strips, key=lambda strip: strip.stop - strip.start)
        needed = bytes_needed(volume, loads, told, widest, batch)
        if needed <= memory:
            if count > 1:
                log.info(
                    "%s: predicted in %d strips, to take no more than %.2f GiB", volume.path, count, memory / 2**30
                )
            return strips, batch
    raise DataError(
        f"{volume.path}: a scan of {volume.grid} takes {needed / 2**30:.2f} GiB to predict, and there may be "
        f"{memory / 2**30:.2f} (--memory-gb): crop or resample it, ask for less of it, or give more"
    )


def bytes_needed(volume: Volume, loads: Sequence[Load], told: int, rows: slice, batch: int) -> int:
    """The most that is held at once, the volume included, where strips are as these rows."""
    voxels = math.prod(volume.grid)
    grids = {load.placement: len(volume.array) * math.prod(load.placement.grid) for load in loads}
    images = volume.array.nbytes + 4 * sum(grids.values())
    preparing = images + 2 * max(grids.values())  # with masks of the foreground
    of_models = sum(load.of_planes(rows) for load in loads) + batch * max(load.of_windows for load in loads)
    predicting = images + told * voxels + of_models
    writing = volume.array.nbytes + (told + 2) * voxels
    return round(SPARE * (max(preparing, predicting, writing) + WORKSPACE))


def _rising(most: int) -> Iterator[int]:
    """Numbers of strips to try: every one at first, then a quarter more each."""
    count = 1
    while count < most:
        yield count
        count += max(count // 4, 1)
    yield most
