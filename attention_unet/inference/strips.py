"""In how many strips to predict a scan, so that it takes no more memory than it may.

What is held for the windows of a model is as deep as a window, but as wide as the scan. A scan too wide for that is
predicted strip by strip: by the windows that touch it, once more those on the border of two.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attention_unet.errors import DataError
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.geometry import AT_ONCE, ScanGrid
from attention_unet.scans.volumes import Volume

log = logging.getLogger(__name__)

# Bytes of a window's voxel that a forward pass holds for each channel of the finest level, in float32 or in half, and
# for each value that is given: measured on networks of 8 to 32 channels.
PER_CHANNEL = {True: 15, False: 30}
PER_VALUE = 20
BATCH_VOXELS = 2**17  # of small windows, such as slices, predicted at once
WORKSPACE = 4 * 10 * AT_ONCE  # what the work on a few planes holds
SPARE = 1.1  # times; of what the C library does not give back


@dataclass(frozen=True)
class Load:
    """What the prediction by a model is made of.

    Attributes:
        preprocessing: of its image.
        scan_grid: of all its grid in the scan.
        channels: of the image.
        window: its voxels, (*S).
        features: channels of the finest level of its network.
        values: given for each voxel, probabilities and attention.
        fast: whether it computes in half precision.
        elsewhere: whether it computes on a device with memory of its own.
    """

    preprocessing: Preprocessing
    scan_grid: ScanGrid
    channels: int
    window: tuple[int, ...]
    features: int
    values: int
    fast: bool
    elsewhere: bool

    @property
    def voxels(self) -> int:
        """Of the image, channels included."""
        return self.channels * math.prod(self.scan_grid.grid)

    @property
    def batch(self) -> int:
        """Windows at once: by what is fastest and not by memory, for in half precision the result shows their number.

        On a CPU two are no faster than one in half precision; in float32, torch leaves a single one to slower kernels.
        """
        at_least = 1 if self.fast and not self.elsewhere else 2
        return max(at_least, BATCH_VOXELS // math.prod(self.window))

    @property
    def of_windows(self) -> int:
        """Bytes that a forward pass holds."""
        a_voxel = PER_CHANNEL[self.fast] * self.features + PER_VALUE * self.values
        return 0 if self.elsewhere else self.batch * math.prod(self.window) * a_voxel

    def of_planes(self, rows: slice) -> int:
        """Bytes of the planes of a strip that are not yet finished, or not yet told."""
        start, stop = self.scan_grid.rows_for(rows)
        columns = max(self.scan_grid.grid[2], self.window[2])
        sums = (self.values + 1) * (stop - start) * columns
        padded = self.channels * max(self.scan_grid.grid[1], self.window[1]) * columns
        return 4 * ((0 if self.elsewhere else self.window[0] * (sums + padded)) + 4 * AT_ONCE)


@dataclass(frozen=True)
class Told:
    """Bytes a voxel of the scan.

    Attributes:
        held: of all that is told.
        finishing: that are held as well while it is finished and written.
    """

    held: int
    finishing: int


def choose_strips(volume: Volume, loads: Sequence[Load], told: Told, memory: int) -> list[slice]:
    """Few strips of about as many rows each, as memory allows.

    Args:
        volume: to predict.
        loads: of each model.
        told: of the scan.
        memory: bytes that may be held, the volume included.

    Returns:
        Rows of each strip along the second RAS+ axis of the scan.

    Raises:
        DataError: if even strips of a single row take more.
    """
    rows = loads[0].scan_grid.scan[1]
    needed = 0
    for count in _rising(rows):
        edges = [round(i * rows / count) for i in range(count + 1)]
        strips = [slice(a, b) for a, b in itertools.pairwise(edges)]
        widest = max(strips, key=lambda strip: strip.stop - strip.start)
        needed = bytes_needed(volume, loads, told, widest)
        if needed <= memory:
            if count > 1:
                work = 1 + (count - 1) * min(loads[0].window[1] / loads[0].scan_grid.grid[1], 1)
                text = "%s: predicted in %d strips to stay below %.2f GiB, about %.1f times the work"
                log.info(text, volume.path, count, memory / 2**30, work)
            return strips
    raise DataError(
        f"{volume.path}: a scan of {volume.grid} takes {_gib(needed)} GiB even strip by strip; the limit is "
        f"{memory / 2**30:.2f} (--memory-gb): crop or resample it, ask for no maps, or raise the limit"
    )


def bytes_needed(volume: Volume, loads: Sequence[Load], told: Told, rows: slice) -> int:
    """The most that is held at once, the volume included, where strips are as these rows."""
    scan, voxels = volume.array.nbytes, math.prod(volume.grid)
    images = {load.preprocessing: load.voxels for load in loads}
    prepared = 4 * sum(images.values())
    preparing = scan + prepared + 2 * max(images.values())  # with masks of the foreground
    of_models = sum(load.of_planes(rows) for load in loads) + max(load.of_windows for load in loads)
    predicting = scan + prepared + told.held * voxels + of_models
    finishing = scan + (told.held + told.finishing) * voxels
    return round(SPARE * (max(preparing, predicting, finishing) + WORKSPACE))


def _gib(size: int) -> str:
    """Rounded up."""
    return f"{math.ceil(100 * size / 2**30) / 100:.2f}"


def _rising(most: int) -> Iterator[int]:
    """Numbers of strips to try: every one at first, then a quarter more each."""
    count = 1
    while count < most:
        yield count
        count += max(count // 4, 1)
    yield most
