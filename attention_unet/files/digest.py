"""Notice when files change: digests of their contents, or size and times."""

import hashlib
from pathlib import Path


def sha256_of(*files: Path) -> str:
    """Return the sha256 of the contents of files, read one after another."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def state_of(file: Path) -> str:
    """Return size and times of a file; no program can set the ctime. Raise OSError if the file cannot be looked at."""
    status = file.stat()
    return f"{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
