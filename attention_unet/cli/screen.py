"""What a person at the terminal sees."""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO, cast

from rich.console import Console

log = logging.getLogger("attention_unet")


class Lasting:
    """A stream that may go away, as a terminal that is closed does: what cannot be shown ends no work.

    Args:
        stream: to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def error_console() -> Console:
    """The standard error stream, for as long as it is there."""
    return Console(file=cast("TextIO", Lasting(sys.stderr)), stderr=True) if sys.stderr else Console(stderr=True)


class ConsoleHandler(logging.Handler):
    """Prints log lines above a progress bar, not through it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        self.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


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
