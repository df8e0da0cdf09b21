"""Measure attention inside each structure and outside of all structures, place by place.

High weights on a structure do not show that the model bases its decision on them (Jain and Wallace, "Attention is not
Explanation", arXiv:1902.10186). A gate may also have learned to suppress a structure.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import noting_failure
from attention_unet.evaluation.evaluated_files import ADVICE, EvaluatedFiles
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text, parse_table
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.volumes import check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

ATTENTION_CSV = "attention.csv"
BINS = 4096  # of weights, for the AUC
MEASURES = ("inside", "outside", "auc")  # fields of StructureAttention


@dataclass(frozen=True)
class StructureAttention:
    """Attention at a place of the network in one class of one case.

    Attributes:
        case: id of the case.
        class_name: name of the class.
        place: place of the network, such as "skip 1"; the number is the level, 0 is the finest.
        inside: mean weight over the voxels of the class; NaN if there are none.
        outside: mean weight over the voxels of no class; NaN if there are none.
        auc: area under the ROC curve: probability that a voxel of the class has a higher weight than a voxel of no
            class. Ties count half; weights within 1/4096 of the largest are ties. 1: all weights in the class are
            above those outside; 0.5: chance; 0: all are below. NaN if there are no voxels of the class or of no class.
    """

    case: str
    class_name: str
    place: str
    inside: float
    outside: float
    auc: float


def write_structure_attention(evaluation: Path, files: EvaluatedFiles) -> dict[str, str]:
    """Write ``attention.csv`` from the predicted attention maps, if any. Return why cases failed, by case."""
    rows: list[StructureAttention] = []
    failed: dict[str, str] = {}
    cases = [case for case in files.cases if files.attention_maps(case)]
    with progress_bar("attention", len(cases)) as done:
        for case in cases:
            with noting_failure(failed, case):
                rows += _measure_case(files, case)
            done()
    for (place, name), mean in mean_attention(rows).items():
        log.info("attention, %s, %s: %.2f inside, %.2f outside, AUC %.3f", place, name, *mean.values())
    if rows:
        write_text(evaluation / ATTENTION_CSV, attention_to_csv(rows))
        log.info("attention of all cases is in %s", evaluation / ATTENTION_CSV)
    return failed


def _measure_case(files: EvaluatedFiles, case: str) -> list[StructureAttention]:
    """Measure the attention at all places of a case."""
    rows = []
    reference = read_labels(files.reference(case))
    for place, path in files.attention_maps(case).items():
        weights = read_volume(path)
        check_same_grid(weights, reference)
        marked = mark_unpredicted(weights.array[0])
        truth = reference.array[0], files.labels, files.cases[case].unannotated
        rows += attention_in_structures(case, place, marked, *truth)
    return rows


def mark_unpredicted(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return an attention map with NaN where it is 0: where no window was predicted.

    These voxels lie outside the part that a locator found, or in an empty margin. Counted as weights, they would make
    any two maps alike, and any map mark the structures.
    """
    return np.where(weights > 0, weights, np.float32(np.nan))


def attention_in_structures(
    case: str,
    place: str,
    weights: NDArray[np.floating],
    reference: NDArray[np.generic],
    labels: Labels,
    unannotated: Collection[str] = (),
) -> list[StructureAttention]:
    """Measure the attention at a place in every annotated class of a case.

    Voxels that are ignored or have the weight NaN are left out.
    """
    known = ~np.isnan(weights) & (True if labels.ignore is None else reference != labels.ignore)
    weights, reference = weights[known], reference[known]
    bins = np.minimum(weights * (BINS / max(float(weights.max(initial=0)), 1e-12)), BINS - 1).astype(np.uint16)
    background = ~mask_of(reference, tuple({integer for group in labels.integers.values() for integer in group}))
    outside, outside_counts = _mean(weights[background]), np.bincount(bins[background], minlength=BINS)
    rows = []
    for name, group in labels.integers.items():
        if name in unannotated:
            continue
        mask = mask_of(reference, group)  # one at a time: there may be many classes
        auc = _auc(np.bincount(bins[mask], minlength=BINS), outside_counts)
        rows.append(StructureAttention(case, name, place, _mean(weights[mask]), outside, auc))
    return rows


def mean_attention(rows: Sequence[StructureAttention]) -> dict[tuple[str, str], dict[str, float]]:
    """Return the mean of each of ``MEASURES`` by place and class, over the cases for which they are defined."""
    values: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for row in rows:
        if not np.isnan(row.auc):
            values.setdefault((row.place, row.class_name), []).append((row.inside, row.outside, row.auc))
    return {key: dict(zip(MEASURES, np.mean(each, axis=0).tolist(), strict=True)) for key, each in values.items()}


def attention_to_csv(rows: Sequence[StructureAttention]) -> str:
    """Return the text of ``attention.csv``: one row per case, class and place."""
    cells = [[row.case, row.class_name, row.place, *(f"{getattr(row, name):.6g}" for name in MEASURES)] for row in rows]
    return csv_text([["case", "class", "place", *MEASURES], *cells])


def read_attention(file: Path) -> list[StructureAttention]:
    """Read the rows of an ``attention.csv``; none if there is no file. Raise DataError if it is not such a table."""
    return parse_table(file, _parse, "attention", ADVICE) if file.is_file() else []


def _parse(row: Mapping[str, str]) -> StructureAttention:
    statistics = [float(row[name]) for name in MEASURES]
    if np.isinf(statistics).any() or (np.isfinite(statistics[-1]) and np.isnan(statistics).any()):
        raise ValueError(f"a value is not finite: {statistics}")
    return StructureAttention(row["case"], row["class"], row["place"], *statistics)


def _auc(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> float:
    """Return the share of pairs of an inside and an outside voxel in which the inside voxel has the higher weight."""
    pairs = int(inside.sum()) * int(outside.sum())
    below = np.cumsum(outside) - outside
    return float((inside * (below + 0.5 * outside)).sum() / pairs) if pairs else float("nan")


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
