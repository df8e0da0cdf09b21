"""Score predicted label maps against true ones, several cases in parallel."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import check_segments
from attention_unet.errors import noting_failure
from attention_unet.evaluation.metrics import UNDEFINED, CaseMetrics, compare_masks
from attention_unet.evaluation.rows import Row
from attention_unet.scans.foreground import bounding_box
from attention_unet.scans.labels import FOREGROUND, Labels, mask_of
from attention_unet.scans.volumes import check_same_grid, read_labels


def score_cases(
    cases: Sequence[Case],
    predictions: Mapping[str, Path],
    labels: Labels,
    tolerance_mm: float,
    done: Callable[[], None],
) -> tuple[list[Row], dict[str, list[int]], dict[str, str]]:
    """Score cases. A case without a prediction is scored as an empty prediction.

    Returns:
        One row per case and class; by case, the integers in its masks that belong to no class; and the reason by case,
        for cases that could not be scored.
    """
    scores: list[Row] = []
    unknown: dict[str, list[int]] = {}
    failed: dict[str, str] = {}
    pool = ThreadPoolExecutor(torch.get_num_threads())  # distances and file reading release the interpreter
    try:
        results = {
            case.id: pool.submit(_score_files, case, predictions.get(case.id), labels, tolerance_mm) for case in cases
        }
        for case, result in results.items():
            with noting_failure(failed, case):
                rows, integers = result.result()
                scores.extend(rows)
                if integers:
                    unknown[case] = integers
            done()
    finally:
        pool.shutdown(cancel_futures=True)
    return scores, unknown, failed


def score_case(
    case: str,
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    labels: Labels,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
    unannotated: Collection[str] = (),
) -> list[Row]:
    """Return the metrics of every class of a case; of several classes, also those of their union, the foreground.

    Ignored voxels count as background in both label maps (I, J, K). Metrics of classes that are not annotated are NaN.
    """
    known = None
    if labels.ignore is not None:
        known = reference != labels.ignore
        prediction, reference = prediction * known, reference * known
    box = bounding_box((prediction != 0) | (reference != 0), margin=1)  # as in compare_masks
    prediction, reference = (np.ascontiguousarray(label_map[box]) for label_map in (prediction, reference))
    known = None if known is None else known[box]
    groups = dict(labels.integers)
    if len(groups) > 1:
        groups[FOREGROUND] = tuple({integer for group in groups.values() for integer in group})
    undefined = {*unannotated, FOREGROUND} if unannotated else set()
    return [
        Row(
            case,
            name,
            UNDEFINED
            if name in undefined
            else compare_masks(mask_of(prediction, group), mask_of(reference, group), spacing_mm, tolerance_mm, known),
        )
        for name, group in groups.items()
    ]


def _with_volumes_times(share: float, metrics: CaseMetrics) -> CaseMetrics:
    volume_ml, reference_volume_ml = share * metrics.volume_ml, share * metrics.reference_volume_ml
    return replace(metrics, volume_ml=volume_ml, reference_volume_ml=reference_volume_ml)


def _score_files(
    case: Case, prediction: Path | None, labels: Labels, tolerance_mm: float
) -> tuple[list[Row], list[int]]:
    """Return the metrics of a case, and the integers in its label maps that belong to no class."""
    true = read_labels(cast(Path, case.label))
    check_segments(true, labels)
    if prediction is None:
        predicted = replace(true, array=np.zeros_like(true.array))
    else:
        predicted = read_labels(prediction)
        check_segments(predicted, labels)
        check_same_grid(predicted, true)
    masks = predicted.array[0], true.array[0]
    rows = score_case(case.id, *masks, labels, true.spacing_mm, tolerance_mm, case.unannotated)
    share = 1000 * true.voxel_ml / math.prod(true.spacing_mm)  # of a voxel at right angles; 1 without shear
    rows = [replace(row, metrics=_with_volumes_times(share, row.metrics)) for row in rows]
    return rows, sorted({*labels.unknown(predicted.array[0]), *labels.unknown(true.array[0])})
