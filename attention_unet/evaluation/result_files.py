"""Guard the folder of an evaluation: only the results of an earlier evaluation are replaced."""

import os
from contextlib import suppress
from pathlib import Path

from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.json_file import read_object

SCORED = "scored.json"
RESULTS = ("metrics.csv", "summary.json", "picture.png", "calibration.csv", "attention.csv", "components.csv")
ADVICE = "expected what evaluate writes; evaluate again"  # end of messages about damaged results


def remove_results(evaluation: Path) -> None:
    """Remove what an earlier evaluation wrote but ``scored.json``, so that one that is stopped leaves no mixture."""
    for name in RESULTS:
        (evaluation / name).unlink(missing_ok=True)


def check_results(evaluation: Path) -> None:
    """Check that the results in a folder are those of an evaluation, whose ``scored.json`` is beside them.

    Raises:
        ConfigError: if they are not.
    """
    with suppress(DataError):
        if isinstance(read_object(evaluation / SCORED).get("cases"), dict):
            return
    if others := [name for name in (SCORED, *RESULTS) if os.path.lexists(evaluation / name)]:
        raise ConfigError(
            f"{evaluation}: holds {first_few(others)}, which evaluate did not write, or whose record is damaged: "
            "move it elsewhere, or name another folder"
        )
