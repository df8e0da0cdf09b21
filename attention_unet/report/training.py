"""What the page tells of the trainings behind an evaluation, in plain values."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from attention_unet.dataset.splits import read_split
from attention_unet.errors import ConfigError, DataError
from attention_unet.files.json_file import read_object
from attention_unet.files.run_folder import CONFIG, HISTORY, MODEL_DESCRIPTION, PLAN, SPLIT
from attention_unet.network.attention_unet import describe_attention
from attention_unet.preparation.plan import Plan
from attention_unet.report.scores import plain
from attention_unet.training.history import read_history

log = logging.getLogger(__name__)


def describe_run(run: Path) -> dict[str, Any]:
    """Learning curves, configuration, plan, split and versions of a run, as far as they are there."""
    model = _read_json(run / MODEL_DESCRIPTION)
    plan = _checked_plan(run, _read_json(run / PLAN) or model.get("plan"))
    return {
        "name": run.resolve().name,
        "history": _read_history(run / HISTORY),
        "config": _read_text(run / CONFIG),
        "plan": plan,
        "attention": describe_attention(plan["architecture"]) if plan else None,
        "split": _read_split(run / SPLIT),
        "versions": model.get("versions", {}),
        "model_sha256": model.get("sha256"),
    }


def _checked_plan(run: Path, plan: dict[str, Any] | None) -> dict[str, Any] | None:
    try:
        return Plan.from_json(plan).to_json() if plan else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s: its plan is damaged (%r): left out", run, error)
        return None


def _read_split(file: Path) -> dict[str, Any] | None:
    try:
        return dataclasses.asdict(read_split(file)) if file.is_file() else None
    except ConfigError as error:
        log.warning("%s: left out", error)
        return None


def _read_history(file: Path) -> dict[str, list[float | str | None]]:
    """Columns of a ``history.csv``."""
    try:
        rows = read_history(file) if file.is_file() else []
    except DataError as error:
        log.warning("%s: left out", error)
        return {}
    return {name: [plain(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def _read_json(file: Path) -> dict[str, Any]:
    """An object; an empty one if it cannot be read."""
    try:
        return read_object(file) if file.is_file() else {}
    except DataError as error:
        log.warning("%s: left out", error)
        return {}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return ""
