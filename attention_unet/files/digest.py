"""What identifies the content of files."""

import hashlib
from pathlib import Path


def sha256_of(*files: Path) -> str:
    """Return the sha256 of the content of files, one after another."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()
