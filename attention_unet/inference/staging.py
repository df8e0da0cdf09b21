"""The files of one case: written into a folder of their own, recorded in a journal, then moved into place.

Wherever a process is killed, each file in place is on record with its sha256. A file that is not is someone else's.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.files.atomic import PARTIAL
from attention_unet.files.digest import sha256_of
from attention_unet.files.lock import record_lock
from attention_unet.files.prediction_record import JOURNAL


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Give an empty folder beside the predictions to write the files of a case to; remove it afterwards.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=output))
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror}): choose a folder you may write to") from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def move_into_place(stage: Path, files: Iterable[Path], output: Path, case: str) -> dict[str, str]:
    """Record the files of a case in the journal, then move them to the same places in the folder of predictions.

    Args:
        stage: the folder that they were written to.
        files: their paths in it, in the order in which to move them.
        output: folder of the predictions.
        case: the id of the case.

    Returns:
        sha256 of each file by its path in the folder of predictions.

    Raises:
        DataError: if the journal cannot be written, or a file cannot be moved; none of them is left in place then.
    """
    hashes = record_files(stage, files)
    moved: list[Path] = []
    try:
        with record_lock(output), (output / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(f"\n{json.dumps({case: hashes})}\n")  # a line before it may be torn
            journal.flush()
            os.fsync(journal.fileno())
        for name in hashes:
            (output / name).parent.mkdir(exist_ok=True)
            if os.path.lexists(output / name):
                raise FileExistsError(errno.EEXIST, "another file appeared there")
            (stage / name).replace(output / name)
            moved.append(output / name)
    except OSError as error:
        for path in moved:
            path.unlink(missing_ok=True)
        raise DataError(
            f"{output}: {case} cannot be written ({error.strerror}): free space or change the folder"
        ) from error
    return hashes


def record_files(output: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return sha256 of files by their paths in a folder, as ``run.json`` records what a prediction wrote."""
    return {path.relative_to(output).as_posix(): sha256_of(path) for path in files}
