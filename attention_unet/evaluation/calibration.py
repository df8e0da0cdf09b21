"""Measure calibration: among the voxels that get a class with 80 %, about 80 % should belong to the class.

Expected calibration error and reliability diagram: Guo et al., "On Calibration of Modern Neural Networks",
arXiv:1706.04599. Each class is measured against the rest, over the voxels of all cases in and near the structures. Far
away nearly all voxels are certain background: the more of them are counted, the smaller the error.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.errors import DataError, noting_failure, plural
from attention_unet.evaluation.evaluated_files import ADVICE, EvaluatedFiles
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table
from attention_unet.files.prediction_folder import probabilities_path
from attention_unet.files.prediction_record import read_record
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.foreground import bounding_box
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.volumes import check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

CALIBRATION = "calibration.csv"
BINS = 15  # of probability, from 0 to 1
NEAR_MM = 10.0  # margin around the box of all structures of a case, predicted or true
ROUNDING = 0.01  # a probability may be as much below 0 or above 1
PRESENT = 0.5  # a voxel counts as predicted above this probability
STATISTICS = ("voxels", "probability", "share")


def write_calibration(evaluation: Path, files: EvaluatedFiles) -> dict[str, str]:
    """Write ``calibration.csv`` from the predicted probabilities, if any. Return why cases failed, by case."""
    table = evaluation / CALIBRATION
    paths = {case: probabilities_path(*files.folder_and_stem(case)) for case in files.predicted}
    probabilities = {case: path for case, path in paths.items() if path.is_file()}
    if not probabilities:
        return {}
    with progress_bar("calibration", len(probabilities)) as done:
        by_class, failed = measure_reliability(probabilities, files.cases, files.labels, done)
    if len(failed) == len(probabilities):
        return failed
    write_text(table, calibration_to_csv(by_class))
    log.info(
        "expected calibration error of %s (in brackets: of probabilities of at least %.0f%%): %s; see %s",
        plural(len(probabilities) - len(failed), "case"),
        100 / BINS,
        ", ".join(
            f"{name} {calibration_error(bins):.4f} ({calibration_error(bins[:, 1:]):.4f})"
            for name, bins in by_class.items()
            if bins[0].any()
        ),
        table,
    )
    return failed


def measure_reliability(
    probabilities: Mapping[str, Path], cases: Mapping[str, Case], labels: Labels, done: Callable[[], None]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """Return the sums of ``count_by_bin`` over all cases for each class, and why cases failed, by case."""
    sums = np.zeros((len(labels.names), 3, BINS))
    failed: dict[str, str] = {}
    channels_of = cache(partial(_find_channels, labels=labels))  # run.json of a thousand cases is long: read it once
    for case, file in probabilities.items():
        with noting_failure(failed, case):
            sums += _count_case(file, *channels_of(file.parents[1]), cases[case], labels)
        done()
    return dict(zip(labels.names, sums, strict=True)), failed


def count_by_bin(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return number of voxels, sum of probabilities and number of true voxels of each bin: (3, bins)."""
    bins = np.minimum((probability * BINS).astype(np.intp), BINS - 1).ravel()
    weights = (None, probability.ravel(), truth.ravel())
    return np.stack([np.bincount(bins, weight, BINS).astype(np.float64) for weight in weights])


def calibration_error(bins: NDArray[np.float64]) -> float:
    """Return the expected calibration error, 0 to 1: the mean over voxels of |probability - share|; NaN without voxels.

    ``bins`` are those of ``count_by_bin``. Certain background in the lowest bin makes the error small.
    """
    voxels, probability, truth = bins
    return float(np.abs(probability - truth).sum() / voxels.sum()) if voxels.any() else math.nan


def calibration_to_csv(by_class: Mapping[str, NDArray[np.float64]]) -> str:
    """Return the text of ``calibration.csv``: one row per class and bin that holds voxels."""
    rows: list[list[object]] = [["class", "from", "to", *STATISTICS]]
    for name, (voxels, probability, truth) in by_class.items():
        for i in np.flatnonzero(voxels):
            edges = [f"{i / BINS:.4f}", f"{(i + 1) / BINS:.4f}", int(voxels[i])]
            rows.append([name, *edges, f"{probability[i] / voxels[i]:.6g}", f"{truth[i] / voxels[i]:.6g}"])
    return csv_text(rows)


def read_bins(file: Path) -> dict[str, list[dict[str, float]]]:
    """Read "voxels", "probability" and "share" of each bin by class from a ``calibration.csv``; none without the file.

    Raise DataError if the file is not such a table.
    """
    bins: dict[str, list[dict[str, float]]] = {}
    if not file.is_file():
        return bins

    def parse(row: Mapping[str, str]) -> tuple[str, dict[str, float]]:
        statistics = {name: float(row[name]) for name in STATISTICS}
        if not all(map(math.isfinite, statistics.values())):
            raise ValueError(f"a value is not finite: {statistics}")
        return row["class"], statistics

    for name, statistics in parse_table(file, parse, "calibration", ADVICE):
        bins.setdefault(name, []).append(statistics)
    return bins


def _find_channels(predictions: Path, labels: Labels) -> tuple[list[int], int]:
    """Return the channel of each class, and the number of channels; the model may have its classes in another order."""
    plain = read_record(predictions).get("labels")  # None: another program made them
    try:
        own = labels if plain is None else Labels.from_json(plain)
        groups = [sorted(group) for group in own.integers.values()]
        background = 0 if own.overlapping else 1
        return [background + groups.index(sorted(group)) for group in labels.integers.values()], own.channels
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{predictions}: is of other classes than those scored: no calibration; predict again"
        ) from error


def _count_case(
    probabilities: Path, channels: Sequence[int], number: int, case: Case, labels: Labels
) -> NDArray[np.float64]:
    """Return ``count_by_bin`` for each class of a case: (classes, 3, bins). ``number``: of channels expected."""
    predicted, true = read_volume(probabilities), read_labels(cast(Path, case.label))
    check_same_grid(predicted, true)
    if len(predicted.array) != number:
        raise DataError(
            f"{probabilities}: has {len(predicted.array)} channels: expected {number}, one per class"
            f"{'' if number == len(channels) else ' and one for the background'}; predict again with --probabilities"
        )
    lowest, highest = predicted.array.min(), predicted.array.max()
    if lowest < -ROUNDING or highest > 1 + ROUNDING:
        raise DataError(f"{probabilities}: has values from {lowest:g} to {highest:g}: expected probabilities, 0 to 1")
    classes = [predicted.array[channel] for channel in channels]
    groups, present = labels.integers.values(), np.zeros(true.grid, dtype=bool)
    for group, probability in zip(groups, classes, strict=True):  # masks of all classes at once would take more memory
        present |= mask_of(true.array[0], group) | (probability > PRESENT)
    if not present.any():
        return np.zeros((len(groups), 3, BINS))
    box = bounding_box(present, [round(NEAR_MM / mm) for mm in true.spacing_mm])
    known = np.ones_like(present) if labels.ignore is None else true.array[0] != labels.ignore
    inside = known[box]
    return np.stack(
        [
            count_by_bin(p[box][inside], mask_of(true.array[0][box], group)[inside]) * (name not in case.unannotated)
            for name, p, group in zip(labels.names, classes, groups, strict=True)
        ]
    )
