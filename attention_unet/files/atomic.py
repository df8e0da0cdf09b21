"""Write files whole or not at all: under a temporary name in the same folder, flushed, then renamed."""

import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attention_unet.errors import ConfigError, DataError

PARTIAL = ".attention_unet-partial-"  # start of the names of unfinished files
STALE_SECONDS = 24 * 3600.0  # age of unfinished files that no other process can still be writing


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. Rename it to ``path`` if the block succeeds, otherwise remove it.

    The temporary name keeps the ending of ``path`` because writers choose the format by it. Raise DataError if the file
    cannot be written, and for any OSError inside the block.
    """
    ending = "".join(path.suffixes[-2:])[-16:]  # such as .nii.gz
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{secrets.token_hex(4)}{ending}")
        partial.touch(exist_ok=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}): choose a folder you may write to") from error
    try:
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _flush(path.parent)
    except OSError as error:
        advice = "give it a shorter name" if error.errno == errno.ENAMETOOLONG else "free space or change the folder"
        raise DataError(f"{path}: writing failed ({error.strerror or error}): {advice}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raise DataError if it cannot be written."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")  # a folder's name may be in another encoding


def check_replaceable(path: Path, mark: bytes) -> None:
    """Raise ConfigError if anything but a file of this program, with ``mark`` in its first 1000 bytes, is at a path."""
    try:
        with path.open("rb") as file:
            ours = mark in file.read(1000)
    except FileNotFoundError:  # another process may remove its file just now
        return
    except OSError:
        ours = False
    if not ours:
        raise ConfigError(
            f"{path}: not a file of this program, but would be replaced: remove it or choose another path"
        )


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing. Raise DataError, before a long computation starts, if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=PARTIAL, dir=folder) as file:
            file.write(b"tried")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}): choose a folder you may write to") from error


def remove_partials(folder: Path, older_than: float | None = None) -> None:
    """Remove unfinished files of a killed process: all, or those older than so many seconds."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if older_than is not None and time.time() - partial.stat().st_mtime <= older_than:
                continue
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with suppress(OSError):
                partial.unlink()


def _flush(folder: Path) -> None:
    """Write the file names of a folder to the disk, if the system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
