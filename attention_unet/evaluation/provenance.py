"""Where predictions come from: the runs behind them, and whether these were trained on what they are scored on."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from attention_unet.errors import UserError
from attention_unet.files.json_file import read_object
from attention_unet.files.prediction_record import read_record, was_changed
from attention_unet.files.run_folder import CONFIG, MODEL_DESCRIPTION


class KnownCases(TypedDict):
    """Fields of ``Remarks`` that tell of training cases."""

    trained_on: list[str]
    same_name: list[str]
    unknown_training: bool
    edited: list[str]


log = logging.getLogger(__name__)


def runs_of(predictions: Path) -> list[Path]:
    """Folders of the runs whose models made predictions, as ``run.json`` names them, if they hold the same models."""
    told = read_record(predictions)
    runs = []
    for name, sha256 in zip(told.get("models", []), told.get("models_sha256", []), strict=False):
        run = (predictions / name).parent.resolve()
        if _sha256_of(run) == sha256:
            runs.append(run)
        elif (run / CONFIG).is_file():
            log.warning("%s: holds another model than the one that made the predictions: left out", run)
    return runs


def known_cases(predicted: Mapping[str, Path]) -> KnownCases:
    """Say, by ``run.json``, which cases the models behind predictions were trained on, and whose masks changed since.

    Args:
        predicted: label map of each predicted case.
    """
    notes = {folder: read_record(folder) for folder in {path.parent for path in predicted.values()}}
    by_way: dict[str | None, list[str]] = {}
    for case, path in predicted.items():
        facts = notes[path.parent].get("cases", {}).get(case)
        if facts is not None:
            way = facts.get("trained_on", "unknown")
            by_way.setdefault(way if isinstance(way, str) else None, []).append(case)
    return KnownCases(
        trained_on=by_way.get("image", []),
        same_name=by_way.get("name", []),
        unknown_training="unknown" in by_way,
        edited=[case for case, path in predicted.items() if was_changed(path.parent, notes[path.parent], case)],
    )


def _sha256_of(run: Path) -> str | None:
    try:
        return str(read_object(run / MODEL_DESCRIPTION).get("sha256"))
    except UserError:
        return None
