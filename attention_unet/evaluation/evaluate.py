"""Score a folder of predictions against a folder of references; whoever made them, they meet as files."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_unet.atomic import write_text
from attention_unet.data.description import describe_labels, labels_in_files, read_description
from attention_unet.data.labels import Labels
from attention_unet.data.predictions import DESCRIPTION
from attention_unet.data.volumes import check_same_grid, read_labels, volumes_by_case
from attention_unet.errors import DataError
from attention_unet.evaluation.metrics import compare_masks
from attention_unet.evaluation.summary import Row, summarise, to_csv, to_json


def find_labels(predictions: Path, references: Path, cases: Sequence[str]) -> Labels:
    """Classes to score: those of the references' ``dataset.json``, else those that prediction wrote to ``run.json``,
    else the integers that occur in the references.

    Raises:
        DataError: if a description is damaged.
    """
    description = references.parent / "dataset.json"
    if description.is_file() and "labels" in read_description(description):
        return describe_labels(description)
    run = predictions / DESCRIPTION
    if run.is_file():
        try:
            return Labels.from_json(read_description(run)["labels"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{run}: describes no labels: expected what predict writes; remove it") from error
    known = volumes_by_case(references)
    return labels_in_files({case: known[case] for case in cases}, {})  # the broken fail when they are scored


def score_case(
    case: str,
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    labels: Labels,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> list[Row]:
    """Metrics of every class of one case, from label maps (I, J, K) of the same grid."""
    return [
        Row(case, name, compare_masks(np.isin(prediction, group), np.isin(reference, group), spacing_mm, tolerance_mm))
        for name, group in labels.integers.items()
    ]


def evaluate_folder(
    predictions: Path,
    references: Mapping[str, Path],
    output: Path,
    *,
    labels: Labels,
    tolerance_mm: float,
    done: Callable[[], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Score every reference; write ``metrics.csv`` and ``summary.json``.

    A reference without prediction is scored as an empty prediction and named in the summary. A case that cannot be
    compared enters nothing and is named there with its reason.

    Args:
        predictions: folder of label maps.
        references: label map of each case.
        output: folder for the results.
        labels: classes.
        tolerance_mm: for the normalised surface Dice.
        done: called after each case.

    Returns:
        The summary, and for each case that failed the reason.
    """
    found = volumes_by_case(predictions)
    rows: list[Row] = []
    missing: list[str] = []
    failed: dict[str, str] = {}
    for case, path in references.items():
        try:
            reference = read_labels(path)
            if case in found:
                prediction = read_labels(found[case])
                check_same_grid(prediction, reference)
                predicted = prediction.array[0]
                unknown = labels.unknown(predicted)
                if unknown:
                    warnings.warn(f"{found[case]}: holds the labels {unknown[:5]}, which no class has", stacklevel=2)
            else:
                missing.append(case)
                predicted = np.zeros_like(reference.array[0])
            rows += score_case(case, predicted, reference.array[0], labels, reference.spacing_mm, tolerance_mm)
        except DataError as error:
            failed[case] = str(error)
        done()
    settings = {"tolerance_mm": tolerance_mm, "undefined": "both masks empty, or a distance to an empty mask"}
    summary = summarise(rows, missing, failed, settings)
    write_text(output / "metrics.csv", to_csv(rows))
    write_text(output / "summary.json", to_json(summary))
    return summary, failed
