"""Evaluate predicted label maps against true ones, made by any program: write scores, tables and pictures."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attention_unet.dataset.cases import Case
from attention_unet.dataset.description import describe_unannotated
from attention_unet.dataset.splits import read_held_out
from attention_unet.dataset.subjects import find_ids_alike, read_subjects
from attention_unet.errors import ConfigError, first_few, plural, replace_paths
from attention_unet.evaluation.calibration import write_calibration
from attention_unet.evaluation.case_order import log_order
from attention_unet.evaluation.case_warnings import read_provenance
from attention_unet.evaluation.evaluated_files import EvaluatedFiles, check_results, write_evaluated_files
from attention_unet.evaluation.example_cases import write_example_cases
from attention_unet.evaluation.found_masks import description_beside, find_images, find_labels, find_masks, is_of_bids
from attention_unet.evaluation.lesions import write_lesions
from attention_unet.evaluation.rows import metrics_to_csv
from attention_unet.evaluation.score import score_cases
from attention_unet.evaluation.structure_attention import write_structure_attention
from attention_unet.evaluation.summary import Summary, summarise
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import write_json
from attention_unet.files.lock import folder_lock
from attention_unet.files.paths import relative_path
from attention_unet.files.run_folder import REPORT, SUBJECTS
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import list_files

log = logging.getLogger(__name__)

TOLERANCE_MM = 1.0


def evaluate_folder(
    predictions: str | Path,
    references: str | Path,
    output: str | Path,
    *,
    images: str | Path | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    subjects: str | Path | None = None,
    held_out_of: str | Path | None = None,
    predicted_only: bool = False,
    components: bool = False,
) -> tuple[Summary, dict[str, str]]:
    """Evaluate a folder of predicted label maps, as ``attention-unet evaluate`` does.

    Writes ``metrics.csv``, ``summary.json`` and ``scored.json``. If the predictions folder holds probabilities, also
    writes their calibration; if it holds attention maps, also the attention inside and outside of structures. If there
    are images, also draws a picture.

    Args:
        predictions: folder of the predicted label maps.
        references: folder of the true label maps, with the same file names, or both are BIDS datasets with the same
            entities; participants are then the subjects.
        output: folder for the results.
        images: folder of the scans, for the picture.
        tolerance_mm: tolerance of the normalised surface Dice, 0 or more.
        subjects: table with the columns case and subject, for intervals over subjects.
        held_out_of: folder of a run; evaluate only the cases that it held out.
        predicted_only: leave out references without prediction; otherwise they are scored as empty predictions.
        components: count connected components, such as lesions, too.

    Returns:
        The summary, with ``warnings``, which are logged, too; and the reason by case, for cases that failed.

    Raises:
        ConfigError: if a folder or prediction is missing, or results would replace files that evaluate did not write.
        DataError: if a description or table is damaged, or the output folder cannot be written to.

    Example:
        >>> summary, failed = evaluate_folder("phantoms/Phantom/labelsTr", "phantoms/Phantom/labelsTr", "evaluation")
        >>> summary.foreground_mean["dice"]
        1.0
    """
    predictions, references, output = Path(predictions), Path(references), Path(output)
    scans = Path(images) if images else None
    for folder, content in ((predictions, "predicted label maps"), (references, "true label maps"), (scans, "scans")):
        if folder and not folder.is_dir():
            raise ConfigError(f"{folder}: not a folder: expected the {content}; check the path")
        if folder and folder.resolve() == output.resolve():
            raise ConfigError(f"{output}: holds the {content}: name another folder with -o")
    check_tolerance(tolerance_mm)
    of_bids = is_of_bids(predictions, references)
    known, predicted = find_masks(predictions, references)
    ids = read_held_out(Path(held_out_of), list(known)) if held_out_of else list(known)
    if not set(predicted) & set(ids):
        others = f"no prediction of these cases, but {first_few(predicted)}" if predicted else "no mask itself"
        kind = "entities" if of_bids else "names"
        raise ConfigError(
            f"{predictions}: holds {others}: expected masks with the {kind} of the references, such as "
            f"{known[ids[0]].name}"
        )
    labels = find_labels(predictions, references, known, predicted, ids)
    if predicted_only:
        ids = [case for case in ids if case in predicted]
    if extra := set(predicted) - set(known):
        log.warning("%s: without reference: %s: %s", predictions, plural(len(extra), "case"), first_few(extra))
    table = Path(held_out_of or "") / SUBJECTS
    if not subjects and held_out_of and table.is_file():
        subjects = table
    participants = {case: case.partition("_")[0] for case in ids} if of_bids else {}
    subject_of = read_subjects(Path(subjects), ids) if subjects else participants
    if not subject_of and find_ids_alike(list(known)) and (alike := find_ids_alike(ids)):
        log.warning("%s: each counts as a person, which may make intervals too narrow: set --subjects", alike)
    grouped = find_images(scans, ids, predicted, of_bids) if scans else {}
    if scans and not set(grouped) & set(ids):
        raise ConfigError(f"{scans}: holds no scan of these cases: expected names such as {known[ids[0]].name}")
    unannotated = describe_unannotated(description_beside(references), labels.names)
    cases = [
        replace(grouped.get(case, Case(case, ())), label=known[case], unannotated=unannotated.get(case, ()))
        for case in ids
    ]
    if not predicted_only and set(ids) - set(predicted):
        log.info(
            "--predicted-only leaves out cases without a prediction, --held-out-of RUN those that a run trained on"
        )
    with folder_lock(output):
        return evaluate_cases(
            cases, predicted, output, labels, tolerance_mm=tolerance_mm, subjects=subject_of, components=components
        )


def check_tolerance(tolerance_mm: float) -> None:
    """Raise ConfigError if the tolerance of the normalised surface Dice is below 0 or not finite."""
    if not 0 <= tolerance_mm < math.inf:
        raise ConfigError(f"--tolerance-mm is {tolerance_mm}: expected 0 or more")


def evaluate_cases(
    cases: Sequence[Case],
    predictions: Mapping[str, Path],
    output: Path,
    labels: Labels,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    subjects: Mapping[str, str] | None = None,
    folds: Mapping[str, int] | None = None,
    components: bool = False,
) -> tuple[Summary, dict[str, str]]:
    """Evaluate cases and write all results, as ``evaluate_folder`` does, into a folder that the caller has locked.

    Without ``subjects``, each case is a subject; ``folds`` are those of a cross-validation that held out the cases.
    Raise ConfigError if results would replace files that evaluate did not write, DataError if the folder cannot be
    written to.

    Returns:
        The summary; and the reason by case, for cases that failed. Cases that could not be scored are in no mean.
    """
    check_results(output)
    with progress_bar("evaluating", len(cases)) as done:
        scores, unknown, failed = score_cases(cases, predictions, labels, tolerance_mm, done)
    rows = [
        replace(row, subject=(subjects or {}).get(row.case, ""), fold=str((folds or {}).get(row.case, "")))
        for row in scores
    ]
    scored = [case for case in cases if case.id not in failed]
    files = EvaluatedFiles(
        labels,
        cases={case.id: case for case in scored},
        predicted={case.id: predictions[case.id] for case in scored if case.id in predictions},
    )
    case_warnings = replace(
        read_provenance(files.predicted),
        missing_predictions=[case.id for case in scored if case.id not in predictions],
        failed={
            case.id: _relative_reason(failed[case.id], case, predictions, output) for case in cases if case.id in failed
        },
        unknown_labels=unknown,
        same_files=bool(files.predicted)
        and all(os.path.samefile(path, files.reference(case)) for case, path in files.predicted.items()),
    )
    settings = {
        "tolerance_mm": tolerance_mm,
        "undefined": "both masks empty, a share of an empty mask, or not annotated",
    }
    summary = summarise(rows, case_warnings, settings)
    check_results(output)  # again: a file may have appeared during scoring
    write_evaluated_files(output, files)  # first: it marks the folder as that of an evaluation
    write_text(output / "metrics.csv", metrics_to_csv(rows))
    write_json(output / "summary.json", summary.to_json())
    log.info("metrics.csv and summary.json are in %s", output)
    failed |= write_calibration(output, files) | write_structure_attention(output, files)
    if components:
        failed |= write_lesions(output, files)
    failed |= write_example_cases(output, files, rows)
    log_order(files, rows)
    for sentence in case_warnings.sentences(summary.n_cases):
        log.warning("%s", sentence)
    if (output / REPORT).exists():
        log.warning("%s: shows an earlier evaluation: report again", output / REPORT)
    return summary, failed


def _relative_reason(reason: str, case: Case, predictions: Mapping[str, Path], output: Path) -> str:
    """Return the reason of a failure with paths relative to the output folder, because results may be moved."""
    paths = [path for path in (case.label, predictions.get(case.id)) if path]
    return replace_paths(reason, {file: relative_path(output, file) for path in paths for file in list_files(path)})
