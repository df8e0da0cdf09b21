"""Write ``run.json``, the record of a folder of predictions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attention_unet.dataset.cases import Case
from attention_unet.files.atomic import write_text
from attention_unet.files.digest import sha256_of
from attention_unet.files.lock import record_lock
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_record import JOURNAL, RECORD, read_record
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import versions
from attention_unet.inference.predict_volume import choose_overlap
from attention_unet.inference.settings import Settings
from attention_unet.scans.volume_files import list_files


def describe_predictions(
    models: Sequence[Model], settings: Settings, cleaned: Sequence[str], output: Path
) -> dict[str, Any]:
    """Describe the predictions of a folder: models, settings and labels.

    Args:
        models: models that predict together.
        settings: how they predict.
        cleaned: classes whose small components were dropped.
        output: folder of the predictions; paths of the models are relative to it.
    """
    plan = models[0].plan
    return {
        "labels": plan.labels.to_json(),
        "models_sha256": [model.sha256 for model in models],
        "overlap": choose_overlap(models, settings),
        "whole_scan": settings.whole_scan,
        "tta": settings.tta,
        "drop_small": list(cleaned),
        "channel": settings.channel,
        "missing": list(settings.missing),
        "file_format": settings.file_format,
        "codes": {name: asdict(code) for name, code in settings.codes.items()},
        "versions": versions(),
        "models": [relative_path(output, model.file) for model in models if model.file],
    }


def update_record(output: Path, facts: Mapping[str, Any]) -> None:
    """Add facts to ``run.json``. Facts of cases are added to those of other cases."""
    with record_lock(output):
        record = read_record(output)
        cases = {**record.get("cases", {}), **facts.get("cases", {})}
        begun = {case: files for case, files in record.get("begun", {}).items() if case not in cases}
        _write_record(output, {**record, **facts, "begun": begun, "cases": cases})


def remove_from_record(output: Path, cases: Iterable[str]) -> None:
    """Remove cases from ``run.json``."""
    with record_lock(output):
        record, gone = read_record(output), set(cases)
        for key in ("cases", "begun"):
            record[key] = {case: facts for case, facts in record.get(key, {}).items() if case not in gone}
        _write_record(output, record)


def add_files(output: Path, case: str, files: Iterable[Path]) -> None:
    """Record further files of a predicted case, so that they are removed when it is predicted again."""
    facts = read_record(output).get("cases", {}).get(case, {})
    known = {**facts.get("files", {}), **hash_files(output, files)}
    update_record(output, {"cases": {case: {**facts, "files": known}}})


def hash_files(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return sha256 of files by their paths in a folder."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def hash_images(case: Case) -> dict[str, str]:
    """Return sha256 of each image of a case by name. An image of several files is hashed as one."""
    return {path.name: sha256_of(*list_files(path)) for path in case.images}


def _write_record(output: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json``, and remove the journal, whose content is in it."""
    write_text(output / RECORD, json.dumps(record, indent=2) + "\n")
    (output / JOURNAL).unlink(missing_ok=True)
