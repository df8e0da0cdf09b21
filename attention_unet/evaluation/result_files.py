"""The files that an evaluation writes, and which of them it may replace: those that ``scored.json`` records."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.atomic import replacing, write_text
from attention_unet.files.digest import sha256_of
from attention_unet.files.json_file import read_object

SCORED = "scored.json"
RESULTS = ("metrics.csv", "summary.json", "picture.png", "calibration.csv", "calibration.png", "attention.csv")


def check_results(evaluation: Path) -> None:
    """Check that an evaluation wrote the results that lie in a folder, as they are now.

    Raises:
        ConfigError: if not: they are of other origin, or were edited.
    """
    recorded = recorded_results(evaluation)
    there = [name for name in RESULTS if os.path.lexists(evaluation / name)]
    others = [name for name in there if name not in recorded]
    if os.path.lexists(evaluation / SCORED) and SCORED not in recorded:
        others = [SCORED, *others]
    if others:
        raise ConfigError(
            f"{evaluation}: holds {first_few(others)}, which evaluate did not write, or whose record is damaged: "
            "move it elsewhere, or name another folder"
        )
    changed = [name for name in there if sha256_of(evaluation / name) not in recorded[name]]
    if changed:
        raise ConfigError(
            f"{evaluation}: {first_few(changed)} changed after evaluate wrote it: move it elsewhere, or name another "
            "folder"
        )


@contextmanager
def replacing_result(evaluation: Path, name: str) -> Iterator[Path]:
    """Give a temporary path to write a result to; then record its sha256, then move it into place.

    Wherever a process is killed, ``scored.json`` records the result that is there: the new one or the one before.

    Raises:
        DataError: if the folder cannot be written to or the disk is full.
    """
    with replacing(evaluation / name) as partial:
        yield partial
        plain, path = read_object(evaluation / SCORED), evaluation / name
        before = [sha256_of(path)] if path.is_file() else []
        plain["files"] = {**plain["files"], name: [*before, sha256_of(partial)]}
        write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def recorded_results(evaluation: Path) -> dict[str, list[str]]:
    """Return sha256 of the results of an earlier evaluation, by name; nothing if ``scored.json`` is damaged."""
    try:
        plain = read_object(evaluation / SCORED)
    except DataError:
        return {}
    if not isinstance(plain.get("cases"), dict):
        return {}
    there = [name for name in RESULTS if (evaluation / name).is_file()]
    files = plain.get(
        "files", {name: [sha256_of(evaluation / name)] for name in there}
    )  # an earlier version's has none
    return {**files, SCORED: []} if isinstance(files, dict) else {}
