"""Lock a folder so that only one process writes into it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from attention_unet.errors import ConfigError, DataError
from attention_unet.files.atomic import STALE_SECONDS, check_writable, remove_partials
from attention_unet.files.part import WHOLE, Part

log = logging.getLogger(__name__)


class Busy(ConfigError):
    """Error: another process is writing into a folder."""


LOCK, RECORD_LOCK = ".attention_unet.lock", ".attention_unet-notes.lock"
PART_LOCK = ".attention_unet-part-{}-of-{}.lock"
RECORD_PATIENCE = 600.0  # seconds; a record of 100,000 cases takes seconds, and many processes may wait for it
PATIENCE = 10.0  # seconds; workers of a killed training can hold the lock for some seconds
LONG_PATIENCE = 3600.0  # seconds; another process may plan, or score predictions


@contextmanager
def folder_lock(folder: Path, patience: float | None = None, part: Part = WHOLE) -> Iterator[None]:
    """Lock a folder against other writers, and remove unfinished files of a killed process.

    Processes with other parts of as many may write there, too. They keep unfinished files for a day, because these may
    be of another part. The system releases the lock however the process ends. A new folder that stays empty is removed.

    Raise Busy if another process holds the lock for longer than ``patience`` seconds (None: PATIENCE), DataError if the
    folder cannot be written to.
    """
    own, age = (LOCK, None) if part.count == 1 else (PART_LOCK.format(part.number, part.count), STALE_SECONDS)
    existed = folder.is_dir()
    check_writable(folder)
    try:
        with _locked(folder / own, patience):
            for other in {folder / LOCK, *folder.glob(PART_LOCK.format("*", "*"))} - {folder / own}:
                if part.count == 1 or not other.match(PART_LOCK.format("*", part.count)):
                    with _locked(other, patience):  # nobody else holds it
                        pass
            remove_partials(folder, age)
            try:
                yield
            finally:
                remove_partials(folder, age)  # a signal can interrupt the removal of a file
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def record_lock(folder: Path) -> Iterator[None]:
    """Lock the record of a folder to read and write it. Raise Busy or DataError as ``folder_lock``."""
    check_writable(folder)
    with _locked(folder / RECORD_LOCK, RECORD_PATIENCE):
        yield


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def _acquire(lock: FileLock, seconds: float) -> None:
    """Acquire a lock. If the process that held it removed the folder, which stayed empty, begin again."""
    end = time.monotonic() + seconds
    while True:
        try:
            lock.acquire(timeout=max(end - time.monotonic(), 0))
            return
        except FileNotFoundError as error:
            if time.monotonic() > end:
                raise Timeout(lock.lock_file) from error


@contextmanager
def _locked(file: Path, patience: float | None = None) -> Iterator[None]:
    patience = PATIENCE if patience is None else patience
    # Other users may write into the folder, too. A lock that is only a file would outlive a killed process.
    lock = FileLock(file, mode=0o666, fallback_to_soft=False)
    try:
        try:
            _acquire(lock, min(patience, 1))
        except Timeout:
            if patience <= 1:
                raise
            log.info("%s: another process is writing here: waiting", file.parent)
            _acquire(lock, patience)
    except Timeout as error:
        raise Busy(
            f"{file.parent}: another process is writing here: wait until it has ended, or name another folder"
        ) from error
    except PermissionError as error:
        raise DataError(f"{file}: cannot be locked ({error.strerror}): let its owner remove it") from error
    except OSError as error:  # the file system has no locks
        _warn_once(f"{file.parent}: cannot be locked ({error.strerror}): let no other process write there")
    try:
        yield
    finally:
        with suppress(OSError):
            if lock.is_locked:
                file.unlink()  # before the release: a waiting process then makes a new file
        lock.release()
