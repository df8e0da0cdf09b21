"""Write the files of one case into a temporary folder, record them in a journal, then move them into place.

If a process is killed, the sha256 of every file that it has moved into place is recorded. It did not write
the other files there.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.inference.record import hash_files, note


def move_into_place(stage: Path, files: Iterable[Path], output: Path, case: str) -> dict[str, str]:
    """Record the files of a case in the journal, then move them, in order, to the same paths in the output folder.

    Returns:
        sha256 of each file by its path in the output folder.

    Raises:
        DataError: if the journal cannot be written, another file is in one of the places, or a file cannot be moved. No
            file is left in place then; the journal keeps its line.
    """
    hashes = hash_files(stage, files)
    moved: list[Path] = []
    note(output, {"begun": {case: hashes}})
    try:
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
