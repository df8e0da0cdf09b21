"""Read ``run.json``, the record of a folder of predictions: models, settings, and the sha256 of each file."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attention_unet.errors import DataError
from attention_unet.files.digest import sha256_of
from attention_unet.files.json_file import read_object

RECORD = "run.json"
JOURNAL = ".attention_unet-journal"  # lines with what is not yet in run.json: {"begun": ...} or {"cases": ...}
LISTS = ("models", "models_sha256", "extras")  # keys of lists of names, in run.json and its cases


def read_record(output: Path) -> dict[str, Any]:
    """Return ``run.json`` with the journal; empty if the record is invalid.

    Key ``begun``: files of the cases that a killed process had started, sha256 by path.
    """
    entries = list(_read_journal(output))  # first: its lines move to run.json, perhaps just now
    try:
        record = dict(read_object(output / RECORD)) if os.path.lexists(output / RECORD) else {}
    except DataError:
        return {}
    if not _is_valid(record):
        return {}
    for entry in entries:
        for key, cases in entry.items():
            record.setdefault(key, {}).update(cases)
    return record


def is_of_prediction(folder: Path) -> bool:
    """Return whether a folder holds predictions. Other programs write files called ``run.json``, too."""
    return bool({"models_sha256", "begun"} & set(read_record(folder)))


def is_complete(output: Path) -> bool:
    """Return whether a prediction into a folder finished. Some cases may have failed."""
    return read_record(output).get("complete") is True


def recorded_files(record: Mapping[str, Any], case: str) -> dict[str, str]:
    """Return the recorded files of a case: sha256 by path in the folder."""
    files = record.get("cases", {}).get(case, {}).get("files", {})
    return {**record.get("begun", {}).get(case, {}), **files}


def was_changed(output: Path, record: Mapping[str, Any], case: str) -> bool:
    """Return whether the label map of a case was changed after it was predicted."""
    masks = {
        output / name: sha256
        for name, sha256 in recorded_files(record, case).items()
        if name.startswith(f"{case}.") and not name.endswith((".json", ".tsv"))  # its description, in a BIDS dataset
    }
    return any(mask.is_file() and _differs(mask, sha256) for mask, sha256 in masks.items())


def _differs(file: Path, sha256: str) -> bool:
    """Return whether a file has another content. One that may not be read was written by somebody else."""
    try:
        return sha256_of(file) != sha256
    except OSError:
        return True


def are_hashes(files: object) -> bool:
    """Return whether this is a dictionary of sha256 by path, with all paths inside the folder."""
    return isinstance(files, dict) and all(
        isinstance(sha256, str) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        for name, sha256 in files.items()
    )


def _read_journal(output: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of the journal: ``begun`` has files by case, sha256 by path; ``cases`` has facts by case.

    An incomplete line of a killed process is ignored: the files of that case were not moved to their final names.
    """
    try:
        lines = (output / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and set(entry) <= {"begun", "cases"} and _is_valid(entry):
            yield entry


def _is_valid(record: dict[str, Any]) -> bool:
    """Return whether a record, or a line of the journal, has the expected types."""
    try:
        described = [record, *record.get("cases", {}).values()]
        files = [*(part.get("files", {}) for part in described), *record.get("begun", {}).values()]
        names = [name for part in described for key in LISTS for name in part.get(key, ())]
        numbers = [record.get("parts", 1), *record.get("finished_parts", ())]
        return (
            all(map(are_hashes, files))
            and all(isinstance(name, str) for name in names)
            and all(isinstance(number, int) for number in numbers)
        )
    except (AttributeError, TypeError):
        return False
