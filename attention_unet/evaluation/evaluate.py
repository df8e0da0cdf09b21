"""Score a folder of predictions against a folder of references; whoever made them, they meet as files."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_unet.atomic import write_text
from attention_unet.data.cases import describe_labels, labels_in_files
from attention_unet.data.labels import Labels
from attention_unet.data.volumes import check_same_grid, list_volumes, read_labels, stem
from attention_unet.errors import DataError
from attention_unet.evaluation.metrics import compare_masks
from attention_unet.evaluation.summary import Row, summarise, to_csv, to_json


def find_labels(predictions: Path, references: Path, cases: Sequence[str]) -> Labels:
    """Classes to score: those of the references' ``dataset.json``, else those that prediction wrote to ``run.json``,
    else the integers that occur in the references.

    Raises:
        DataError: if a description is damaged.
    """
    if (references.parent / "dataset.json").is_file():
        return describe_labels(references.parent / "dataset.json")
    if (predictions / "run.json").is_file():
        return Labels.from_json(json.loads((predictions / "run.json").read_text(encoding="utf-8"))["labels"])
    return labels_in_files([path for path in list_volumes(references) if stem(path) in set(cases)])


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
    references: Path,
    output: Path,
    *,
    labels: Labels,
    cases: Sequence[str],
    tolerance_mm: float,
    done: Callable[[], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Score every reference; write ``metrics.csv`` and ``summary.json``.

    A reference without prediction is scored as an empty prediction and named in the summary.

    Args:
        predictions: folder of label maps.
        references: folder of label maps of the same names.
        output: folder for the results.
        labels: classes.
        cases: names of the references to score.
        tolerance_mm: for the normalised surface Dice.
        done: called after each case.

    Returns:
        The summary, and for each case that failed the reason.
    """
    found = {stem(path): path for path in list_volumes(predictions)}
    known = {stem(path): path for path in list_volumes(references)}
    rows: list[Row] = []
    missing: list[str] = []
    failed: dict[str, str] = {}
    for case in cases:
        try:
            reference = read_labels(known[case])
            if case in found:
                prediction = read_labels(found[case])
                check_same_grid(prediction, reference)
                predicted = prediction.array[0]
            else:
                missing.append(case)
                predicted = np.zeros_like(reference.array[0])
            rows += score_case(case, predicted, reference.array[0], labels, reference.spacing_mm, tolerance_mm)
        except DataError as error:
            failed[case] = str(error)
        done()
    settings = {"tolerance_mm": tolerance_mm, "undefined": "both masks empty, or a distance to an empty mask"}
    summary = summarise(rows, missing, settings)
    write_text(output / "metrics.csv", to_csv(rows))
    write_text(output / "summary.json", to_json(summary))
    return summary, failed
