"""What a person at the terminal sees."""

import logging
import os

from rich.console import Console


class ConsoleHandler(logging.Handler):
    """Prints log lines above a progress bar, not through it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        self.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


def table_console() -> Console:
    """The standard output; wide enough for a table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=100)


def silence_profiler() -> None:
    """Keep what torch's profiler says off the standard error; read when torch is loaded."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
