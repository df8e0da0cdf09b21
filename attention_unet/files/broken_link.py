"""Links to files that do not exist, as DataLad leaves them until a file is fetched."""

import os
from pathlib import Path


def is_broken_link(path: Path) -> bool:
    """Return whether a path is a link to nothing."""
    return os.path.islink(path) and not os.path.exists(path)


def describe_unreadable(path: Path, error: OSError, advice: str) -> str:
    """Return why a file cannot be read, and what to do: ``advice``, or to fetch what a link leads to."""
    return describe_broken_link(path) if is_broken_link(path) else f"cannot be read ({error.strerror}): {advice}"


def describe_broken_link(path: Path) -> str:
    """Return what is wrong with a link to a file that does not exist, and what to do."""
    return f"is a link to {os.readlink(path)}, which does not exist: fetch that file, with DataLad by 'datalad get'"
