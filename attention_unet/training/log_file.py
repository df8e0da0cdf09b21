"""Write the log of a training to a file in its run folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


class _LogFile(logging.FileHandler):
    """Log file that raises no error on a full disk, because a training can continue without it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


@contextmanager
def log_to_file(path: Path, wanted: bool) -> Iterator[None]:
    """Write log messages to a file too, if wanted and possible."""
    try:
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace") if wanted else None
    except OSError as error:
        log.warning("%s: cannot be written (%s): training continues without it", path, error.strerror)
        handler = None
    if handler is None:
        yield
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("attention_unet")
    level = logger.level
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
