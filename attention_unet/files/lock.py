"""One process at a time may write into a folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from attention_unet.errors import ConfigError
from attention_unet.files.atomic import check_writable, remove_partials

log = logging.getLogger(__name__)

LOCK, NOTES_LOCK = ".attention_unet.files.lock", ".attention_unet-notes.lock"
PATIENCE = 10.0  # seconds: what belongs to a training that was killed may live on for a few


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder, and clear it of what a killed one left half-written.

    The system lets the lock go when a process ends, however it ends. A folder that was made and stays empty is removed.

    Raises:
        ConfigError: if another process works there.
        DataError: if the folder cannot be written to.
    """
    existed = folder.is_dir()
    check_writable(folder)
    try:
        with _locked(folder / LOCK):
            remove_partials(folder)
            try:
                yield
            finally:
                remove_partials(folder)  # an interruption may come between a file and its removal
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def record_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the notes of a folder for the moment that this one reads and writes them.

    Raises:
        ConfigError: if another process does not finish.
        DataError: if the folder cannot be written to.
    """
    check_writable(folder)
    with _locked(folder / NOTES_LOCK):
        yield


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    lock = FileLock(file, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"{file.parent}: another process is writing here: wait until it has ended, or name another folder"
        ) from error
    except OSError as error:  # the disk does not support locks
        folder = file.parent
        log.warning("%s: cannot be locked (%s): let no other process write there", folder, error.strerror)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # before the release: a process that waits notices this and makes a new file
        lock.release()
