"""Write paths into files."""

import os
from pathlib import Path


def relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to a folder, so that both can be moved together.

    A link to a file stays one: the name of its target may be that of a person, or a key of DataLad without ending.
    """
    return os.path.relpath(path.parent.resolve() / path.name, folder.resolve())
