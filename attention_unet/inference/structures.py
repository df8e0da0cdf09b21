"""Measure the structures of a predicted label map, and collect those of a folder in ``volumes.csv``."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from attention_unet.dataset.bids import NAME
from attention_unet.errors import DataError
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text
from attention_unet.files.prediction_record import RECORD, read_record
from attention_unet.files.structure_file import COLUMNS, Structure, mean_expected_dice, read_structures
from attention_unet.scans.foreground import BY_CORNERS
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels, mask_of

log = logging.getLogger(__name__)

VOLUMES = "volumes.csv"
HEAD = ("case", "class", *COLUMNS[1:])
VOLUMES_MARK = ",".join(HEAD).encode()  # in its first line
ENTITIES = ("participant_id", "session_id")  # further columns, if names are those of BIDS


def describe_structures(
    label_map: NDArray[np.generic],
    labels: Labels,
    signal: NDArray[np.float32] | None,
    voxel_ml: float,
    expected_dice: NDArray[np.float64],
) -> dict[str, Any]:
    """Describe each class of a label map, by its integer, as plain values for JSON.

    The signal is the first channel of the scan (I, J, K), None if it is missing; the volume of a voxel is in ml.

    Returns:
        Name and colour; volume in ml; mean and standard deviation of the signal, None without it and in an empty class;
        number of connected components; whether a voxel lies at the edge of the scan; expected Dice, None in an empty
        class.
    """
    boxes = ndimage.find_objects(label_map)  # of 1, 2, ... up to the largest integer
    described = {}
    for index, (name, group) in enumerate(labels.integers.items()):
        of_group = [box for value in group if value <= len(boxes) and (box := boxes[value - 1])]
        box = tuple(
            slice(min(a.start for a in axis), max(a.stop for a in axis)) for axis in zip(*of_group, strict=True)
        )
        within = label_map[box] if box else np.zeros((0, 0, 0), label_map.dtype)
        mask = mask_of(within, group)
        voxels = int(np.count_nonzero(mask))
        values = signal[box][mask] if voxels and signal is not None else np.zeros(0)
        expected = expected_dice[index]  # NaN where another class is painted over all of an overlapping one
        described[str(labels.painted[index])] = {
            "name": name,
            "colour": colour_of(index),
            "volume_ml": float(f"{voxels * voxel_ml:.6g}"),
            "mean": float(f"{values.mean(dtype=np.float64):.6g}") if values.size else None,
            "sd": float(f"{values.std(dtype=np.float64):.6g}") if values.size else None,
            "components": int(ndimage.label(mask, BY_CORNERS)[1]) if voxels else 0,
            "touches_edge": any(a.start == 0 or a.stop == size for a, size in zip(box, label_map.shape, strict=False)),
            "expected_dice": round(float(expected), 4) if voxels and math.isfinite(expected) else None,
        }
    return {"labels": described}


def write_volumes(output: Path, models: Sequence[str] | None = None) -> None:
    """Write ``volumes.csv``: the structures of all cases of a folder, those of the lowest expected Dice first.

    ``models`` are the sha256 of models; if given, structures that these models found in folders below are included.
    Raise DataError if the file cannot be written.
    """
    found: list[tuple[float, str, list[Structure]]] = []
    folders = [output] if models is None else sorted(file.parent for file in output.rglob(RECORD))
    for folder in folders:
        record = read_record(folder)
        of_them = models is None or record.get("models_sha256") == models
        for case in record.get("cases", {}) if of_them else ():
            try:
                structures = read_structures(folder, case)
            except DataError as error:
                log.warning("left out of %s: %s", VOLUMES, error)
                continue
            if structures:
                name = os.fsencode(folder.relative_to(output) / case).decode("utf-8", "replace")
                found.append((mean_expected_dice(structures), name, structures))
    found.sort(key=lambda each: each[:2])
    entities = {name: _entities_of(name) for _, name, _ in found}
    of_bids = any(participant for participant, _ in entities.values())
    rows = [
        (name, *(each[column] for column in COLUMNS), *(entities[name] if of_bids else ()))  # None: an empty cell
        for _, name, structures in found
        for each in structures
    ]
    write_text(output / VOLUMES, csv_text([HEAD + ENTITIES if of_bids else HEAD, *rows]))


def _entities_of(case: str) -> tuple[str, str]:
    """Return participant and session in the name of a case; empty texts if it has none, or is no name of BIDS."""
    match = NAME.fullmatch(case.rpartition("/")[2])
    participant, *others = match["entities"].split("_") if match else [""]
    return participant, next((entity for entity in others if entity.startswith("ses-")), "")
