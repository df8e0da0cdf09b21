"""What the page tells of the trainings behind an evaluation, in plain values."""

import csv
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_unet.data.predictions import DESCRIPTION
from attention_unet.report.scores import plain

log = logging.getLogger(__name__)

MODEL, CONFIG, HISTORY, PLAN, SPLIT = "model.json", "config.yaml", "history.csv", "plan.json", "splits.json"


def runs_behind(evaluation: Path, predictions: Path) -> list[Path]:
    """Folders of the runs that made what was scored: the folds of a cross-validation, or those of which prediction
    noted the models, if they still hold the same ones.
    """
    folds = sorted(file.parent for file in evaluation.glob(f"fold*/{CONFIG}"))
    if folds:
        return folds
    noted = _read_json(predictions / DESCRIPTION)
    runs = []
    for name, sha256 in zip(noted.get("models", []), noted.get("models_sha256", []), strict=False):
        run = (predictions / name).parent
        if _read_json(run / MODEL).get("sha256") == sha256:
            runs.append(run)
        elif run.is_dir() and (run / CONFIG).is_file():
            log.warning("warning: %s: holds another model than the one that made the predictions: left out", run)
    return runs


def tell_run(run: Path) -> dict[str, Any]:
    """Learning curves, configuration, plan, split and versions of a run, as far as they are there."""
    model = _read_json(run / MODEL)
    return {
        "name": run.resolve().name,
        "history": _read_history(run / HISTORY),
        "config": _read_text(run / CONFIG),
        "plan": _read_json(run / PLAN) or model.get("plan"),
        "split": _read_json(run / SPLIT),
        "versions": model.get("versions", {}),
        "model_sha256": model.get("sha256"),
    }


def _read_history(file: Path) -> dict[str, list[float | str | None]]:
    """Columns of a ``history.csv``."""
    rows: Sequence[dict[str, str]] = list(csv.DictReader(_read_text(file).splitlines()))
    try:
        return {name: [plain(float(row[name])) for row in rows] for name in (rows[0] if rows else {})}
    except (TypeError, ValueError) as error:
        log.warning("warning: %s: is no table of numbers (%s): left out", file, error)
        return {}


def _read_json(file: Path) -> dict[str, Any]:
    """An object; an empty one if it cannot be read."""
    try:
        found = json.loads(_read_text(file) or "{}")
    except ValueError as error:
        log.warning("warning: %s: is not readable JSON (%s): left out", file, error)
        return {}
    return found if isinstance(found, dict) else {}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return ""
