"""Score a folder of predictions against a folder of references; whoever made them, they meet as files."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attention_unet.atomic import check_writable
from attention_unet.data.cases import Case
from attention_unet.data.description import describe_labels, labels_in_files
from attention_unet.data.itk_files import files_of
from attention_unet.data.labels import FOREGROUND, Labels
from attention_unet.data.predictions import DESCRIPTION, seen_from
from attention_unet.data.volumes import check_same_grid, read_labels, volumes_by_case
from attention_unet.errors import DataError, renamed
from attention_unet.evaluation.metrics import compare_masks
from attention_unet.evaluation.origin import known_cases
from attention_unet.evaluation.remarks import Remarks
from attention_unet.evaluation.result_files import check_results, replacing_result
from attention_unet.evaluation.rows import Row, to_csv
from attention_unet.evaluation.scored import Scored, write_scored
from attention_unet.evaluation.summary import summarise, to_json
from attention_unet.geometry import box_of
from attention_unet.json_file import read_object


def check_output(folder: Path) -> None:
    """Check that results can be written into a folder, and would not replace files of other origin.

    Raises:
        ConfigError: if files would be replaced that evaluate did not write, or that were edited.
        DataError: if the folder cannot be written to.
    """
    check_results(folder)
    check_writable(folder)


def find_labels(predictions: Path, references: Path, cases: Sequence[str]) -> Labels:
    """Classes to score: those of the references' ``dataset.json``, else those that prediction wrote to ``run.json`` or,
    as nnU-Net does, to a ``dataset.json`` beside its masks, else the integers that occur in the references.

    Raises:
        DataError: if a description is damaged.
    """
    description = references.parent / "dataset.json"
    if description.is_file() and "labels" in read_object(description):
        return describe_labels(description)
    run = predictions / DESCRIPTION
    if run.is_file():
        try:
            return Labels.from_json(read_object(run)["labels"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{run}: describes no labels: expected what predict writes; remove it") from error
    beside = predictions / "dataset.json"
    if beside.is_file() and "labels" in read_object(beside):
        return describe_labels(beside)
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
    """Metrics of every class of one case, from label maps (I, J, K) of the same grid; of several classes also those of
    all together, as one.
    """
    box = box_of((prediction != 0) | (reference != 0))
    prediction, reference = (np.ascontiguousarray(label_map[box]) for label_map in (prediction, reference))
    groups = {name: np.array(group) for name, group in labels.integers.items()}
    if len(groups) > 1:
        groups[FOREGROUND] = np.unique(np.concatenate([*groups.values()]))
    return [
        Row(case, name, compare_masks(np.isin(prediction, group), np.isin(reference, group), spacing_mm, tolerance_mm))
        for name, group in groups.items()
    ]


def _score_files(
    case: str, prediction: Path | None, reference: Path, labels: Labels, tolerance_mm: float
) -> tuple[list[Row], list[int]]:
    """Score a label map; one that is not there as an empty one. Gives as well the integers that no class has.

    Raises:
        DataError: if one cannot be read, or they lie on different grids.
    """
    true = read_labels(reference)
    if prediction is None:
        predicted = replace(true, array=np.zeros_like(true.array))
    else:
        predicted = read_labels(prediction)
        check_same_grid(predicted, true)
    rows = score_case(case, predicted.array[0], true.array[0], labels, true.spacing_mm, tolerance_mm)
    return rows, sorted({*labels.unknown(predicted.array[0]), *labels.unknown(true.array[0])})


def evaluate_folder(
    predictions: Path,
    cases: Sequence[Case],
    output: Path,
    *,
    labels: Labels,
    tolerance_mm: float,
    subjects: Mapping[str, str] | None = None,
    folds: Mapping[str, int] | None = None,
    done: Callable[[], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Score every reference, as many at once as there are cores; write ``metrics.csv`` and ``summary.json``, and in
    ``scored.json`` what was scored.

    A reference without prediction is scored as an empty prediction and named in the summary. A case that cannot be
    compared enters nothing and is named there with its reason.

    Args:
        predictions: folder of label maps.
        cases: with their references, and for those who want to look with their images.
        output: folder for the results.
        labels: classes.
        tolerance_mm: for the normalised surface Dice.
        subjects: subject by case id; each case is a subject if not given.
        folds: of a cross-validation, the fold that held out each case.
        done: called after each case.

    Returns:
        The summary, and for each case that failed the reason.

    Raises:
        ConfigError: if a file of other origin appeared where a result belongs.
    """
    found = volumes_by_case(predictions)
    references = {case.id: case.label for case in cases if case.label}
    rows: list[Row] = []
    failed: dict[str, str] = {}
    unknown: dict[str, list[int]] = {}
    pool = ThreadPoolExecutor(torch.get_num_threads())  # what takes long leaves the interpreter to others
    try:
        results = {
            case: pool.submit(_score_files, case, found.get(case), path, labels, tolerance_mm)
            for case, path in references.items()
        }
        for case, result in results.items():
            try:
                of_case, strange = result.result()
                person, fold = (subjects or {}).get(case, ""), (folds or {}).get(case, "")
                rows += [replace(row, subject=person, fold=str(fold)) for row in of_case]
                unknown |= {case: strange} if strange else {}
            except DataError as error:
                failed[case] = str(error)
            done()
    finally:
        pool.shutdown(cancel_futures=True)
    missing = [case for case in references if case not in found and case not in failed]
    settings = {
        "tolerance_mm": tolerance_mm,
        "undefined": "both masks empty, or a share of an empty mask",
    }
    why = {}
    for case, reason in failed.items():
        files = [*files_of(references[case]), *(files_of(found[case]) if case in found else [])]
        why[case] = renamed(reason, {file: seen_from(output, file) for file in files})
    scored = [case for case in references if case in found and case not in failed]
    same = bool(scored) and all(os.path.samefile(found[case], references[case]) for case in scored)
    remarks = Remarks(missing, why, unknown, **known_cases(predictions, scored), same_files=same)
    summary = summarise(rows, remarks, settings)
    references = {case: path for case, path in references.items() if case not in failed}
    predicted = {case: found[case] for case in references if case in found}
    images = {case.id: case.images for case in cases}
    check_results(output)  # again: a file may have appeared in the meantime
    write_scored(output, Scored(labels, predictions, references, predicted, images))  # first: it marks the folder
    for name, text in (("metrics.csv", to_csv(rows)), ("summary.json", to_json(summary))):
        with replacing_result(output, name) as path:
            path.write_text(text, encoding="utf-8")
    return summary, failed
