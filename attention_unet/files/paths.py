"""Write paths into files."""

import os
from pathlib import Path


def relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to a folder, so that both can be moved together; absolute if it is on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()
