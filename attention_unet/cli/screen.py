"""What a person at the terminal sees."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def counting(console: Console, text: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar over cases; gives what to call after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


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
