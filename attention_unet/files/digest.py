"""Compute the digest of files."""

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
