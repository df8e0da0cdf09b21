"""Print log lines, tables and failures at the terminal."""

import logging
from collections.abc import Mapping

from rich.console import Console

from attention_unet.machine.progress import SCREEN

log = logging.getLogger("attention_unet")


class ConsoleHandler(logging.Handler):
    """Handler that prints log lines above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record on one line."""
        level = "warning: " if record.levelno == logging.WARNING else ""
        SCREEN.print(f"{level}{self.format(record)}", soft_wrap=True)


class _TableConsole(Console):
    def on_broken_pipe(self) -> None:
        """Let ``main`` end the command. By default rich ends the process with exit code 1."""
        raise BrokenPipeError


def table_console(quiet: bool = False) -> Console:
    """Return a console on the standard output: 100 columns wide without a terminal. Names are printed as they are."""
    console = _TableConsole(markup=False, emoji=False, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = 100
    return console


def report_failures(failed: Mapping[str, str]) -> int:
    """Log the cases that failed with their reasons. Return the exit code."""
    for case, reason in failed.items():
        log.error("failed: %s: %s", case, reason)
    return 1 if failed else 0
