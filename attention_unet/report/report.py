"""The report: scores, trainings and cases in one HTML file that works offline."""

import base64
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from matplotlib import colormaps

from attention_unet.errors import DataError, plural
from attention_unet.evaluation.evaluated_files import EvaluatedFiles, read_evaluated_files
from attention_unet.evaluation.provenance import runs_of
from attention_unet.evaluation.result_files import SCORED
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import read_object
from attention_unet.files.prediction_record import RECORD
from attention_unet.files.run_folder import EXPLANATION
from attention_unet.inference.model import versions
from attention_unet.report.page import build_page
from attention_unet.report.scores import describe_scores
from attention_unet.report.shown_case import show_case
from attention_unet.report.training import describe_run
from attention_unet.scans.label_table import COLOURS

log = logging.getLogger(__name__)

MARK = b'<meta name="generator" content="attention_unet">'  # in the head of every report
VOXELS = 32_000_000  # of channels on a page; a byte each, before they are compressed


def write_report(
    output: Path, title: str, evaluation: Path | None, runs: Sequence[Path], most_cases: int, done: Callable[[], None]
) -> dict[str, str]:
    """Write the page.

    Args:
        output: the HTML file.
        title: of the page.
        evaluation: folder that ``evaluate`` or ``cross-validate`` wrote; None if there are only trainings to show.
        runs: of the trainings to show, beside those that are known to be behind the evaluation.
        most_cases: that can be looked at: the worst ones.
        done: called after each of them.

    Returns:
        For each case that cannot be shown the reason.

    Raises:
        DataError: if the evaluation is damaged.
    """
    facts: dict[str, Any] = {
        "title": title,
        "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(),
        "colours": COLOURS,
        "colour_map": base64.b64encode(colormaps["inferno"](range(256), bytes=True)[:, :3].tobytes()).decode(),
        "scores": None,
        "explanation": None,
        "shown": {},
        "failed": {},
    }
    voxels: dict[str, bytes] = {}
    if evaluation is not None:
        scored = read_evaluated_files(evaluation)
        behind = [run for folder in scored.folders for run in runs_of(folder)]
        runs = list({run.resolve(): run for run in (*runs, *behind)}.values())
        facts["scores"] = describe_scores(evaluation, scored.labels)
        facts["explanation"] = _explanation(evaluation, scored)
        ranked = [told["case"] for told in facts["scores"]["cases"]]
        if set(ranked) != set(scored.references):
            raise DataError(f"{evaluation}: metrics.csv and {SCORED} are not of the same cases: evaluate again")
        gone = [case for case in ranked if not scored.references[case].exists()]
        if gone and most_cases:
            where = scored.references[gone[0]]
            facts["failed"][plural(len(gone), "case")] = f"{where}: is not there any more: evaluate again"
        worst = [case for case in ranked if case not in gone][:most_cases]
        attention_mm: dict[str, Sequence[float]] = {}
        for folder in scored.folders:
            attention_mm |= _record_of(folder).get("attention_mm", {})
        for case in worst:
            try:
                shown = show_case(scored, case, attention_mm, VOXELS // len(worst))
                facts["shown"][case], voxels[case] = shown.described, shown.voxels
            except DataError as error:
                facts["failed"][case] = str(error)
            done()
    facts["runs"] = [describe_run(run) for run in runs]
    write_text(output, build_page(f"{title} · attention_unet", facts, voxels))
    return dict(facts["failed"])


def _record_of(predictions: Path) -> dict[str, Any]:
    """Return ``run.json`` of a folder of predictions; nothing if another tool made them."""
    file = predictions / RECORD
    return read_object(file) if file.is_file() else {}


def _explanation(evaluation: Path, scored: EvaluatedFiles) -> dict[str, Any] | None:
    """What explain found, unless that was of another model than the one that predicted."""
    file = evaluation / EXPLANATION
    found = read_object(file) if file.is_file() else None
    if found and not {"model_sha256", "cases", "shares", "sentences"} <= set(found):
        raise DataError(f"{file}: tells no findings: expected what explain writes; explain again")
    if found and any(_record_of(folder).get("models_sha256") != [found["model_sha256"]] for folder in scored.folders):
        log.warning("%s: is of another model than the predictions: left out; explain again", file)
        return None
    return found
