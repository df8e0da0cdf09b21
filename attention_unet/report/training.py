"""Collect the facts of a training for the report, as plain values."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attention_unet.dataset.splits import read_split
from attention_unet.errors import UserError
from attention_unet.files.json_file import read_object
from attention_unet.files.prediction_record import read_record
from attention_unet.files.run_folder import CONFIG, HISTORY, MODEL_DESCRIPTION, PLAN, SPLIT
from attention_unet.preparation.plan import read_plan
from attention_unet.report.scores import to_json_number
from attention_unet.training.history import read_history

log = logging.getLogger(__name__)

T = TypeVar("T")


def describe_run(run: Path) -> dict[str, Any]:
    """Return learning curves, configuration, plan, split and versions of a run, as far as its files can be read."""
    model, plan = _read(run / MODEL_DESCRIPTION, read_object) or {}, _read(run / PLAN, read_plan)
    split, history = _read(run / SPLIT, read_split), _read(run / HISTORY, read_history) or []
    return {
        "name": run.resolve().name,
        "history": {name: [to_json_number(row[name]) for row in history] for name in (history[0] if history else {})},
        "config": _read(run / CONFIG, lambda file: file.read_text(encoding="utf-8")) or "",
        "plan": plan.to_json() if plan else None,
        "attention": plan.architecture.describe_attention() if plan else None,
        "split": dataclasses.asdict(split) if split else None,
        "versions": model.get("versions", {}),
        "model_sha256": model.get("sha256"),
    }


def find_runs(predictions: Path) -> list[Path]:
    """Return the folders of the runs that ``run.json`` names. Runs whose model has changed since are left out."""
    record = read_record(predictions)
    runs = []
    for name, sha256 in zip(record.get("models", []), record.get("models_sha256", []), strict=False):
        run = (predictions / name).parent.resolve()
        if (_read(run / MODEL_DESCRIPTION, read_object) or {}).get("sha256") == sha256:
            runs.append(run)
        elif (run / CONFIG).is_file():
            log.warning("%s: its model is not the one that made the predictions: left out", run)
    return runs


def _read(file: Path, read: Callable[[Path], T]) -> T | None:
    """Read a file; None if it is missing or, with a warning, if it is damaged."""
    try:
        return read(file) if file.is_file() else None
    except (UserError, OSError, UnicodeError) as error:
        log.warning("%s: left out", error)
        return None
