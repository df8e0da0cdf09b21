"""Show progress bars with the time left, on the standard error stream."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PROXIED = "rich_proxied_file"  # attribute of the stream that rich sets as sys.stderr


class _StandardError:
    """Stream that writes to the current ``sys.stderr``. A closed terminal raises no error."""

    def write(self, text: str) -> int:
        """Write text if possible."""
        with suppress(OSError, ValueError, AttributeError):
            _stream().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(OSError, ValueError, AttributeError):
            _stream().flush()

    def __getattr__(self, name: str) -> Any:
        if name == PROXIED:  # otherwise rich would write to that stream directly
            raise AttributeError(name)
        return getattr(_stream(), name)


def _stream() -> TextIO:
    return cast("TextIO", getattr(sys.stderr, PROXIED, sys.stderr))


SCREEN = Console(file=cast("TextIO", _StandardError()), stderr=True)


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a progress bar with the time left, if the standard error stream is a terminal.

    Yields:
        Function to call after each part, or with the number of finished parts, which may be a fraction.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=SCREEN, disable=not SCREEN.is_terminal) as bar:
        task = bar.add_task(text, total=total)

        def update(finished: float | None = None) -> None:
            if finished is None:
                bar.advance(task)
            else:
                bar.update(task, completed=finished)

        yield update
