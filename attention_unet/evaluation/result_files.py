"""Guard the result files of an evaluation: it replaces only the files that ``scored.json`` records."""

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
ADVICE = "expected what evaluate writes; evaluate again"  # end of messages about damaged results


def check_results(evaluation: Path) -> None:
    """Check that the results in a folder were written by an evaluation and have not changed since.

    Raises:
        ConfigError: if other files have these names, or a result was changed.
    """
    recorded = read_result_hashes(evaluation)
    present = [name for name in RESULTS if os.path.lexists(evaluation / name)]
    others = [name for name in present if name not in recorded]
    if os.path.lexists(evaluation / SCORED) and SCORED not in recorded:
        others = [SCORED, *others]
    if others:
        raise ConfigError(
            f"{evaluation}: holds {first_few(others)}, which evaluate did not write, or whose record is damaged: "
            "move it elsewhere, or name another folder"
        )
    changed = [name for name in present if sha256_of(evaluation / name) not in recorded[name]]
    if changed:
        raise ConfigError(
            f"{evaluation}: {first_few(changed)} changed after evaluate wrote it: move it elsewhere, or name another "
            "folder"
        )


@contextmanager
def replacing_result(evaluation: Path, name: str) -> Iterator[Path]:
    """Yield a temporary path for a result. Then record its sha256 and move the file to its final path.

    Wherever a process is killed, ``scored.json`` records the file that is present, the old or the new one.

    Raises:
        DataError: if the folder cannot be written to or the disk is full.
    """
    with replacing(evaluation / name) as partial:
        yield partial
        plain, path = read_object(evaluation / SCORED), evaluation / name
        before = [sha256_of(path)] if path.is_file() else []
        plain["files"] = {**plain["files"], name: [*before, sha256_of(partial)]}
        write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def read_result_hashes(evaluation: Path) -> dict[str, list[str]]:
    """Read the possible sha256 of each result of an earlier evaluation; empty if ``scored.json`` is damaged."""
    try:
        plain = read_object(evaluation / SCORED)
    except DataError:
        return {}
    if not isinstance(plain.get("cases"), dict):
        return {}
    files = plain.get("files")
    return {**files, SCORED: []} if isinstance(files, dict) else {}
