"""Split a scan into as few chunks of rows (back-front axis) as fit into memory. Windows on a border are repeated."""

import itertools
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attention_unet.errors import DataError
from attention_unet.files.prediction_folder import MEASURES
from attention_unet.inference.settings import Settings
from attention_unet.machine.memory import free_memory
from attention_unet.scans.geometry import AT_ONCE, fit_grid
from attention_unet.scans.volumes import Volume

if TYPE_CHECKING:
    from attention_unet.inference.model import Model

log = logging.getLogger(__name__)

WORKSPACE = 4 * 12 * AT_ONCE  # bytes, for the work on a few planes


def choose_chunks(
    volume: Volume, models: Sequence["Model"], places: Sequence[Sequence[str]], settings: Settings
) -> list[slice]:
    """Return the rows of each chunk, in order, in voxels of the scan along its second RAS+ axis (back-front).

    Scan, preprocessed image, results and a constant workspace are always held. Window sums may take half of the
    remaining memory; the other half is for the network and for copies. Raise DataError if even chunks of one row do not
    fit.
    """
    limit = free_memory() + volume.array.nbytes if settings.memory is None else settings.memory
    labels = models[0].plan.labels
    measures = settings.uncertainty * (1 if len(models) == 1 else len(MEASURES))
    maps = measures + len(places[0]) + settings.probabilities * labels.channels
    results = math.prod(volume.grid) * (np.dtype(labels.dtype).itemsize + 4 * maps)
    images: dict[object, int] = {}
    sums, rows = 0.0, 1
    for model, own in zip(models, places, strict=True):
        plan = model.plan
        scan_grid = fit_grid(volume.affine, volume.grid, plan.preprocessing.spacing_mm, plan.preprocessing.stack)
        images[plan.preprocessing] = 4 * len(plan.channels) * math.prod(scan_grid.grid)
        rows = scan_grid.scan[1]
        if model.device.type != "cuda":  # a GPU has its own memory
            depth, width = plan.patch[0], max(scan_grid.grid[2], plan.patch[2])
            sums += 4 * (labels.channels + len(own) + 1) * depth * scan_grid.grid[1] * width
    fixed = volume.array.nbytes + sum(images.values()) + results + WORKSPACE
    available = (limit - fixed) / 2
    count = max(math.ceil(sums / available), 1) if available > 0 else rows + 1
    if count > rows:
        raise DataError(
            f"{volume.path}: a scan of {volume.grid} takes {(fixed + 2 * sums / rows) / 2**30:.2f} GiB even row by "
            f"row; the limit is {limit / 2**30:.2f}: crop or resample it, ask for no maps, or raise the limit (predict "
            "--memory-gb)"
        )
    if count > 1:
        log.info("%s: predicted in %d chunks to stay below %.2f GiB", volume.path, count, limit / 2**30)
    edges = [round(i * rows / count) for i in range(count + 1)]
    return [slice(first, stop) for first, stop in itertools.pairwise(edges)]
