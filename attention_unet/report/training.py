"""Collect the facts of a training for the report, as plain values."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from attention_unet.dataset.splits import read_split
from attention_unet.errors import ConfigError, DataError
from attention_unet.files.json_file import read_object
from attention_unet.files.run_folder import CONFIG, HISTORY, MODEL_DESCRIPTION, PLAN, SPLIT
from attention_unet.preparation.plan import Plan
from attention_unet.report.scores import to_json_number
from attention_unet.training.history import read_history

log = logging.getLogger(__name__)


def describe_run(run: Path) -> dict[str, Any]:
    """Return learning curves, configuration, plan, split and versions of a run, as far as its files can be read."""
    model = _read_json(run / MODEL_DESCRIPTION)
    plan = _check_plan(run, _read_json(run / PLAN) or model.get("plan"))
    return {
        "name": run.resolve().name,
        "history": _read_history(run / HISTORY),
        "config": _read_text(run / CONFIG),
        "plan": plan.to_json() if plan else None,
        "attention": plan.architecture.describe_attention() if plan else None,
        "split": _read_split(run / SPLIT),
        "versions": model.get("versions", {}),
        "model_sha256": model.get("sha256"),
    }


def _check_plan(run: Path, plan: dict[str, Any] | None) -> Plan | None:
    """Return a plan; None if it is missing or damaged."""
    try:
        return Plan.from_json(plan) if plan else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s: the plan is damaged (%r): left out", run, error)
        return None


def _read_split(file: Path) -> dict[str, Any] | None:
    try:
        return dataclasses.asdict(read_split(file)) if file.is_file() else None
    except ConfigError as error:
        log.warning("%s: left out", error)
        return None


def _read_history(file: Path) -> dict[str, list[float | str | None]]:
    """Return the columns of a ``history.csv``; empty if it cannot be read."""
    try:
        rows = read_history(file) if file.is_file() else []
    except DataError as error:
        log.warning("%s: left out", error)
        return {}
    return {name: [to_json_number(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def _read_json(file: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one if the file cannot be read."""
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
