"""Where predictions come from: the runs behind them, and whether these were trained on what they are scored on."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TypedDict

from attention_unet.errors import UserError
from attention_unet.inference.model import DESCRIPTION
from attention_unet.inference.output_folder import noted, was_changed
from attention_unet.json_file import read_object
from attention_unet.run_folder import CONFIG


class KnownCases(TypedDict):
    """Fields of ``Remarks`` that tell of training cases."""

    trained_on: list[str]
    same_name: list[str]
    unknown_training: bool
    edited: list[str]


log = logging.getLogger(__name__)


def runs_behind(evaluation: Path, predictions: Path) -> list[Path]:
    """Folders of the runs that made what was scored: the folds of a cross-validation, each of which predicted
    what it held out, or those of which prediction noted the models.
    """
    return sorted(file.parent for file in evaluation.glob(f"fold*/{CONFIG}")) or runs_of(predictions)


def runs_of(predictions: Path) -> list[Path]:
    """Folders of the runs that made all of some predictions, if they still hold the same models."""
    told = noted(predictions)
    runs = []
    for name, sha256 in zip(told.get("models", []), told.get("models_sha256", []), strict=False):
        run = (predictions / name).parent
        if _sha256_of(run) == sha256:
            runs.append(run)
        elif (run / CONFIG).is_file():
            log.warning("warning: %s: holds another model than the one that made the predictions: left out", run)
    return runs


def known_cases(predictions: Path, cases: Collection[str]) -> KnownCases:
    """Say, by ``run.json``, which cases the models behind predictions were trained on, and whose masks changed since.

    Args:
        predictions: folder of the predictions.
        cases: ids of predicted cases.
    """
    run = noted(predictions)
    notes = run.get("cases", {})
    by_way: dict[str | None, list[str]] = {}
    for case in cases:
        if case in notes:
            way = notes[case].get("trained_on", "unknown")
            by_way.setdefault(way if isinstance(way, str) else None, []).append(case)
    return KnownCases(
        trained_on=by_way.get("image", []),
        same_name=by_way.get("name", []),
        unknown_training="unknown" in by_way,
        edited=[case for case in cases if was_changed(predictions, run, case)],
    )


def _sha256_of(run: Path) -> str | None:
    try:
        return str(read_object(run / DESCRIPTION).get("sha256"))
    except UserError:
        return None
