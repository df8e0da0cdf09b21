"""Print log lines, tables and failures at the terminal."""

import logging
import os
from collections.abc import Mapping

from rich.console import Console

from attention_unet.machine.progress import SCREEN

log = logging.getLogger("attention_unet")


class ConsoleHandler(logging.Handler):
    """Prints log lines above a progress bar, not through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        level = "warning: " if record.levelno == logging.WARNING else ""
        SCREEN.print(f"{level}{self.format(record)}", markup=False, highlight=False, soft_wrap=True)


def table_console() -> Console:
    """The standard output, wide enough for a table where it is no terminal; names of classes are no markup."""
    console = Console(markup=False)
    return console if console.is_terminal else Console(width=100, markup=False)


def report_failures(failed: Mapping[str, str]) -> int:
    """Name the cases that failed, and why; return the exit code."""
    for case, reason in failed.items():
        log.error("failed: %s: %s", case, reason)
    return 1 if failed else 0


def silence_profiler() -> None:
    """Keep what torch's profiler says off the standard error; read when torch is loaded."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
