"""Read ``run.json``, the record of a folder of predictions: models, settings, and the sha256 of each file."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from attention_unet.errors import DataError
from attention_unet.files.digest import sha256_of
from attention_unet.files.json_file import read_object

RECORD = "run.json"
JOURNAL = ".attention_unet-journal"  # one line for each case that is not yet in run.json
LISTS = ("models", "models_sha256", "extras")  # keys of lists of names, in run.json and its cases


def read_record(output: Path) -> dict[str, Any]:
    """Return ``run.json`` with the journal; empty if the record is missing or invalid.

    Key ``begun``: files of the cases that a killed process had started, sha256 by path.
    """
    try:
        record = read_object(output / RECORD)
    except DataError:
        return {}
    try:
        for part in (record, *record.setdefault("cases", {}).values()):
            if not all(isinstance(name, str) for key in LISTS for name in part.get(key, ())):
                return {}
            if not are_hashes(part.get("files", {})):
                return {}
        if not all(are_hashes(files) for files in record.get("begun", {}).values()):
            return {}
        if "begun" in record or (output / JOURNAL).exists():
            record["begun"] = {**record.get("begun", {}), **_read_journal(output)}
    except (AttributeError, TypeError):
        return {}
    return dict(record)


def is_complete(output: Path) -> bool:
    """Return whether a prediction into a folder finished. Some cases may have failed."""
    return read_record(output).get("complete") is True


def recorded_files(record: Mapping[str, Any], case: str) -> dict[str, str]:
    """Return the recorded files of a case: sha256 by path in the folder."""
    files = record.get("cases", {}).get(case, {}).get("files", {})
    return {**record.get("begun", {}).get(case, {}), **files}


def was_changed(output: Path, record: Mapping[str, Any], case: str) -> bool:
    """Return whether the label map of a case was changed after it was predicted."""
    masks = {name: sha256 for name, sha256 in recorded_files(record, case).items() if name.startswith(f"{case}.")}
    return any((output / name).is_file() and sha256_of(output / name) != sha256 for name, sha256 in masks.items())


def are_hashes(files: object) -> bool:
    """Return whether this is a dictionary of sha256 by path, with all paths inside the folder."""
    return isinstance(files, dict) and all(
        isinstance(sha256, str) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        for name, sha256 in files.items()
    )


def _read_journal(output: Path) -> dict[str, dict[str, str]]:
    """Return the files of each case in the journal, sha256 by path.

    An incomplete line of a killed process is ignored: the files of that case were not moved to their final names.
    """
    begun: dict[str, dict[str, str]] = {}
    try:
        lines = (output / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return begun
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and all(are_hashes(files) for files in entry.values()):
            begun |= entry
    return begun
