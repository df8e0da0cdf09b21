"""Find the runs behind predictions, and the cases that those runs were trained on."""

import logging
from collections.abc import Mapping
from pathlib import Path

from attention_unet.errors import UserError
from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.files.json_file import read_object
from attention_unet.files.prediction_record import read_record, was_changed
from attention_unet.files.run_folder import CONFIG, MODEL_DESCRIPTION
from attention_unet.scans.volume_files import stem

log = logging.getLogger(__name__)


def find_runs(predictions: Path) -> list[Path]:
    """Return the folders of the runs that ``run.json`` names. Runs whose model has changed since are left out."""
    record = read_record(predictions)
    runs = []
    for name, sha256 in zip(record.get("models", []), record.get("models_sha256", []), strict=False):
        run = (predictions / name).parent.resolve()
        if _read_model_sha256(run) == sha256:
            runs.append(run)
        elif (run / CONFIG).is_file():
            log.warning("%s: its model is not the one that made the predictions: left out", run)
    return runs


def read_provenance(predicted: Mapping[str, Path]) -> CaseWarnings:
    """Return the warnings from ``run.json``: cases that the models were trained on, masks changed after prediction."""
    records = {folder: read_record(folder) for folder in {path.parent for path in predicted.values()}}
    for folder, record in records.items():
        if record.get("complete") is False:
            log.warning("%s: its prediction is not finished: repeat it with --resume", folder)
    by_match: dict[str | None, list[str]] = {}
    for case, path in predicted.items():
        facts = records[path.parent].get("cases", {}).get(stem(path))
        if facts is not None:
            match = facts.get("trained_on", "unknown")
            by_match.setdefault(match if isinstance(match, str) else None, []).append(case)
    return CaseWarnings(
        trained_on=by_match.get("image", []),
        same_name=by_match.get("name", []),
        unknown_training="unknown" in by_match,
        edited=[case for case, path in predicted.items() if was_changed(path.parent, records[path.parent], stem(path))],
    )


def _read_model_sha256(run: Path) -> str | None:
    try:
        return str(read_object(run / MODEL_DESCRIPTION).get("sha256"))
    except UserError:
        return None
