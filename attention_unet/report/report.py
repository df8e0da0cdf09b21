"""Write the report: scores, trainings and cases in one HTML file that works offline."""

import base64
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps

from attention_unet.errors import DataError, noting_failure, plural, replace_paths
from attention_unet.evaluation.evaluated_files import SCORED, EvaluatedFiles, read_evaluated_files
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import read_object
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_record import read_record
from attention_unet.files.run_folder import EXPLANATION
from attention_unet.report.page import build_page
from attention_unet.report.scores import describe_scores
from attention_unet.report.shown_case import show_case
from attention_unet.report.training import describe_run, find_runs

log = logging.getLogger(__name__)

MARK = b'<meta name="generator" content="attention_unet">'  # in the head of every report
MAX_VOXELS = 32_000_000  # of all channels on a page; one byte each before compression


def write_report(
    output: Path, title: str, evaluation: Path | None, runs: Sequence[Path], most_cases: int, done: Callable[[], None]
) -> dict[str, str]:
    """Write the report into an HTML file. Return the reason for each case that cannot be shown.

    ``evaluation`` is a folder that ``evaluate`` or ``cross-validate`` wrote; None to show only trainings. ``runs`` are
    run folders to show, in addition to those that made the evaluated predictions. The viewer shows the worst cases, at
    most ``most_cases``; ``done`` is called after each of them. Raise DataError if the evaluation is damaged.
    """
    facts: dict[str, Any] = {
        "colour_map": base64.b64encode(colormaps["inferno"](range(256), bytes=True)[:, :3].tobytes()).decode(),
        "scores": None,
        "explanation": None,
        "shown": {},
        "failed": {},
        "channels": [],
    }
    voxels: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    model_runs: list[Path] = []
    if evaluation is not None:
        files = read_evaluated_files(evaluation)
        model_runs = [run for folder in files.folders for run in find_runs(folder)]
        runs = list({run.resolve(): run for run in (*model_runs, *runs)}.values())
        facts["scores"] = describe_scores(evaluation, files.labels)
        facts["explanation"] = _read_explanation(evaluation, files)
        ranked = [row["case"] for row in facts["scores"]["cases"]]
        if set(ranked) != set(files.cases):
            raise DataError(f"{evaluation}: metrics.csv and {SCORED} list different cases: evaluate again")
        missing = [case for case in ranked if not files.reference(case).exists()]
        if missing and most_cases:
            reference = files.reference(missing[0])
            failed[plural(len(missing), "case")] = f"{reference}: missing: restore it, or evaluate again"
        worst = [case for case in ranked if case not in missing][:most_cases]
        recorded: dict[str, dict[str, Any]] = {}
        for folder in files.folders:
            recorded |= read_record(folder).get("cases", {})
        for case in worst:
            with noting_failure(failed, case):
                stored = files.folder_and_stem(case)[1] if case in files.predicted else case
                attention_mm = recorded.get(stored, {}).get("attention_mm", {})
                facts["shown"][case], voxels[case] = show_case(files, case, attention_mm, MAX_VOXELS // len(worst))
            done()
        names = _folder_names(files, output.parent)
        facts["failed"] = {case: replace_paths(reason, names) for case, reason in failed.items()}
        for each in facts["shown"].values():
            each["problem"] = each["problem"] and replace_paths(each["problem"], names)
    facts["runs"] = [describe_run(run) for run in runs]
    if model_runs:
        facts["channels"] = (facts["runs"][0]["plan"] or {}).get("channels", [])
    write_text(output, build_page(title, facts, voxels))
    return failed


def _folder_names(files: EvaluatedFiles, page: Path) -> dict[Path, str]:
    """Return the path of each folder of evaluated files relative to that of the page, because pages are shared."""
    scans = {image.parent for case in files.cases.values() for image in case.images}
    labels = {files.reference(case).parent for case in files.cases}
    return {folder: relative_path(page, folder) for folder in {*files.folders, *scans, *labels}}


def _read_explanation(evaluation: Path, files: EvaluatedFiles) -> dict[str, Any] | None:
    """Return the results of explain; None if there are none, or if they are of another model than the predictions."""
    file = evaluation / EXPLANATION
    explanation = read_object(file) if file.is_file() else None
    if not explanation:
        return None
    missing = {"model_sha256", "cases", "shares", "sentences"} - set(explanation)
    if missing:
        raise DataError(f"{file}: lacks {', '.join(sorted(missing))}: expected the file of explain; explain again")
    if any(read_record(folder).get("models_sha256") != [explanation["model_sha256"]] for folder in files.folders):
        log.warning("%s: is of another model than the predictions: left out; explain again", file)
        return None
    return explanation
