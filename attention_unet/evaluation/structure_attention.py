"""Where attention lies: its weights inside each structure and outside of all, level by level.

High weights on a structure do not show that the model decides by them (Jain and Wallace, "Attention is not
Explanation", arXiv:1902.10186), and a gate may as well have learned to hold a structure back.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.evaluation.result_files import replacing_result
from attention_unet.files.csv_text import csv_rows, csv_text
from attention_unet.files.prediction_folder import attention_path
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

ATTENTION_CSV = "attention.csv"
BINS = 4096  # that weights are told apart in


@dataclass(frozen=True)
class StructureAttention:
    """Attention of a level in one class of one case.

    Attributes:
        case: its name.
        class_name: name of the class.
        level: of the network, 0 the finest.
        inside: mean weight of the voxels of the class; NaN of none.
        outside: mean weight of the voxels of no class; NaN of none.
        auc: how likely a voxel of the class has a higher weight than one of no class, ties counted half: 1 where
            attention tells them apart, 0.5 where it does not, 0 where it holds the class back; NaN where one is empty.
    """

    case: str
    class_name: str
    level: int
    inside: float
    outside: float
    auc: float


class MeanAttention(NamedTuple):
    """Means over cases of what ``StructureAttention`` tells."""

    inside: float
    outside: float
    auc: float


def write_structure_attention(evaluation: Path, scored: EvaluatedFiles) -> dict[str, str]:
    """Write ``attention.csv`` of every attention map that lies beside the predictions; none if there is no map.

    Args:
        evaluation: folder to write it to.
        scored: cases that may have maps.

    Returns:
        For each case that failed the reason.
    """
    found: list[StructureAttention] = []
    failed: dict[str, str] = {}
    cases = [case for case in scored.references if scored.attention_levels(case)]
    with progress_bar("attention", len(cases)) as done:
        for case in cases:
            try:
                reference = read_labels(scored.references[case])
                for level in scored.attention_levels(case):
                    weights = read_volume(attention_path(scored.predicted[case].parent, case, level))
                    check_same_grid(weights, reference)
                    found += attention_in_structures(case, level, weights.array[0], reference.array[0], scored.labels)
            except DataError as error:
                failed[case] = str(error)
            done()
    for (level, name), of in mean_attention(found).items():
        log.info("attention, level %d, %s: %.2f inside, %.2f outside, AUC %.3f", level, name, *of)
    if found:
        with replacing_result(evaluation, ATTENTION_CSV) as path:
            path.write_text(to_csv(found), encoding="utf-8")
        log.info("%s lies in %s", ATTENTION_CSV, evaluation)
    else:
        (evaluation / ATTENTION_CSV).unlink(missing_ok=True)
    return failed


def attention_in_structures(
    case: str, level: int, weights: NDArray[np.floating], reference: NDArray[np.generic], labels: Labels
) -> list[StructureAttention]:
    """Focus on every class.

    Args:
        case: its name.
        level: of the weights.
        weights: at least 0, (I, J, K).
        reference: label map of the same shape.
        labels: classes.
    """
    bins = np.minimum(weights * (BINS / max(float(weights.max()), 1e-12)), BINS - 1).astype(np.uint16)
    masks = {name: np.isin(reference, group) for name, group in labels.integers.items()}
    none = ~np.logical_or.reduce(list(masks.values()))
    outside, of_none = _mean(weights[none]), np.bincount(bins[none], minlength=BINS)
    return [
        StructureAttention(
            case, name, level, _mean(weights[mask]), outside, _auc(np.bincount(bins[mask], minlength=BINS), of_none)
        )
        for name, mask in masks.items()
    ]


def mean_attention(focus: Sequence[StructureAttention]) -> dict[tuple[int, str], MeanAttention]:
    """Mean over the cases for which it is defined, by level and class."""
    found: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
    for one in focus:
        if not np.isnan(one.auc):
            found.setdefault((one.level, one.class_name), []).append((one.inside, one.outside, one.auc))
    return {key: MeanAttention(*(float(mean) for mean in np.mean(of, axis=0))) for key, of in found.items()}


def to_csv(focus: Sequence[StructureAttention]) -> str:
    """``attention.csv``: a row a case, class and level."""
    cells = [[value if isinstance(value, str | int) else f"{value:.6g}" for value in astuple(one)] for one in focus]
    return csv_text([["case", "class", *[field.name for field in fields(StructureAttention)][2:]], *cells])


def from_csv(file: Path) -> list[StructureAttention]:
    """The rows of an ``attention.csv``; none if there is no such file.

    Raises:
        DataError: if it is no such table.
    """
    if not file.is_file():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            return [
                StructureAttention(
                    row["case"], row["class"], int(row["level"]),
                    float(row["inside"]), float(row["outside"]), float(row["auc"]),
                )
                for row in csv_rows(opened)
            ]  # fmt: skip
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: is no table of attention ({error}): evaluate again") from error


def _auc(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> float:
    """Share of pairs, of a voxel inside and one outside by bins of their weights, in which the one inside has more."""
    pairs = int(inside.sum()) * int(outside.sum())
    below = np.cumsum(outside) - outside
    return float((inside * (below + 0.5 * outside)).sum() / pairs) if pairs else float("nan")


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
