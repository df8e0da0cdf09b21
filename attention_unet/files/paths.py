"""Write paths into files."""

import os
from pathlib import Path


def relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to a folder, so that both can be moved together; absolute if it is on another drive.

    A link to a file stays one: the name of its target may be that of a person, or a key of DataLad without ending.
    """
    place = path.parent.resolve() / path.name
    try:
        return Path(os.path.relpath(place, folder.resolve())).as_posix()
    except ValueError:
        return place.as_posix()
