"""How far probabilities can be believed: of voxels called a class with 80 %, about 80 % should be of it.

Expected calibration error and reliability curve: Guo et al., "On Calibration of Modern Neural Networks",
arXiv:1706.04599. A class against the rest, over the voxels of all cases in and near the structures: elsewhere nearly
all are background beyond doubt, and the more of these are counted, the smaller the error.
"""

import csv
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError, plural
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.evaluation.reliability_plot import draw_reliability
from attention_unet.evaluation.result_files import replacing_result
from attention_unet.files.csv_text import csv_rows, csv_text
from attention_unet.files.prediction_folder import probabilities_path
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.geometry import box_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

CALIBRATION = "calibration.csv"
BINS = 15  # of probability, from 0 to 1
NEAR_MM = 10.0  # around the box of all structures of a case, predicted or true
PRESENT = 0.5  # probability from which a voxel counts as predicted


@dataclass(frozen=True)
class Reliability:
    """Voxels by the probability of a class, in bins of equal width from 0 to 1.

    Attributes:
        voxels: in each bin.
        probability: mean of each bin, NaN where it is empty.
        share: of the voxels of each bin that are of the class, NaN where it is empty.
    """

    voxels: NDArray[np.float64]
    probability: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: how far probability and share lie apart, by voxels; NaN of none."""
        return self._error_from(0)

    @property
    def error_where_likely(self) -> float:
        """The same without the lowest bin, which holds what is background beyond doubt and so makes any error small."""
        return self._error_from(1)

    def _error_from(self, first: int) -> float:
        voxels, apart = self.voxels[first:], np.nan_to_num(np.abs(self.probability - self.share))[first:]
        return float((voxels * apart).sum() / voxels.sum()) if voxels.sum() else float("nan")


def write_calibration(evaluation: Path, scored: EvaluatedFiles) -> dict[str, str]:
    """Write ``calibration.csv`` and ``calibration.png`` of the probabilities that lie beside the predictions; none if
    there are no probabilities.

    Args:
        evaluation: folder to write them to.
        scored: cases that may have probabilities.

    Returns:
        For each case that failed the reason.
    """
    table, picture = evaluation / CALIBRATION, evaluation / "calibration.png"
    files = {case: probabilities_path(mask.parent, case) for case, mask in scored.predicted.items()}
    files = {case: file for case, file in files.items() if file.is_file()}
    if not files:
        table.unlink(missing_ok=True)
        picture.unlink(missing_ok=True)
        return {}
    with progress_bar("calibration", len(files)) as done:
        found, failed = calibrate(files, scored.references, scored.labels, done)
    with replacing_result(evaluation, table.name) as path:
        path.write_text(to_csv(found), encoding="utf-8")
    with replacing_result(evaluation, picture.name) as path:
        draw_reliability(found, path)
    log.info(
        "expected calibration error, %s (where a class has at least %.0f%%): %s; see %s",
        plural(len(files) - len(failed), "case"),
        100 / BINS,
        ", ".join(f"{name} {of.error:.4f} ({of.error_where_likely:.4f})" for name, of in found.items()),
        picture,
    )
    return failed


def calibrate(
    probabilities: Mapping[str, Path], references: Mapping[str, Path], labels: Labels, done: Callable[[], None]
) -> tuple[dict[str, Reliability], dict[str, str]]:
    """Reliability of each class, over cases.

    Args:
        probabilities: file of the probabilities of each case, as ``predict --probabilities`` writes it.
        references: true label map of each case.
        labels: classes.
        done: called after each case.

    Returns:
        Reliability by class, and for each case that failed the reason.
    """
    sums = np.zeros((len(labels.names), 3, BINS))
    failed: dict[str, str] = {}
    for case, file in probabilities.items():
        try:
            sums += _of_case(file, references[case], labels)
        except DataError as error:
            failed[case] = str(error)
        done()
    voxels, probability, truth = np.moveaxis(sums, 1, 0)
    with np.errstate(invalid="ignore"):
        found = zip(labels.names, voxels, probability / voxels, truth / voxels, strict=True)
    return {name: Reliability(*of) for name, *of in found}, failed


def count(probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each bin of probability the number of voxels, the sum of their probabilities, and how many are true.

    Args:
        probability: of a class, any shape, 0 to 1.
        truth: whether it is there.

    Returns:
        (3, bins).
    """
    place = np.minimum((probability * BINS).astype(np.intp), BINS - 1).ravel()
    weights = (None, probability.ravel(), truth.ravel())
    return np.stack([np.bincount(place, weight, BINS).astype(np.float64) for weight in weights])


def to_csv(reliabilities: Mapping[str, Reliability]) -> str:
    """``calibration.csv``: a row a class and bin that holds voxels."""
    rows: list[list[object]] = [["class", "from", "to", "voxels", "probability", "share"]]
    for name, of in reliabilities.items():
        for i in np.flatnonzero(of.voxels):
            edges = [f"{i / BINS:.4f}", f"{(i + 1) / BINS:.4f}", int(of.voxels[i])]
            rows.append([name, *edges, f"{of.probability[i]:.6g}", f"{of.share[i]:.6g}"])
    return csv_text(rows)


def bins_from_csv(file: Path) -> dict[str, list[dict[str, float]]]:
    """Bins of each class in a ``calibration.csv``: "voxels", "probability", "share"; none if there is no such file.

    Raises:
        DataError: if it is no such table.
    """
    found: dict[str, list[dict[str, float]]] = {}
    if not file.is_file():
        return found
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv_rows(opened):
                told = {name: float(row[name]) for name in ("voxels", "probability", "share")}
                found.setdefault(row["class"], []).append(told)
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: is no table of calibration ({error}): evaluate again") from error
    return found


def _of_case(probabilities: Path, reference: Path, labels: Labels) -> NDArray[np.float64]:
    """What ``count`` gives of each class: (classes, 3, bins)."""
    said, true = read_volume(probabilities), read_labels(reference)
    check_same_grid(said, true)
    if len(said.array) != labels.channels:
        raise DataError(
            f"{probabilities}: holds {len(said.array)} channels: expected {labels.channels}, one a class"
            f"{'' if labels.overlapping else ' and one of background'}"
        )
    classes = said.array if labels.overlapping else said.array[1:]
    groups = [np.isin(true.array[0], group) for group in labels.integers.values()]
    present = np.logical_or.reduce([*groups, *(of > PRESENT for of in classes)])
    near = [round(NEAR_MM / mm) for mm in true.spacing_mm]
    box = tuple(slice(max(s.start - n, 0), s.stop + n) for s, n in zip(box_of(present), near, strict=True))
    return np.stack([count(of[box], truth[box]) for of, truth in zip(classes, groups, strict=True)])
