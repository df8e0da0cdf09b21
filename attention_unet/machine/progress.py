"""Progress bars on the standard error stream, with the time left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PROXIED = "rich_proxied_file"  # attribute of the stream that rich puts in the place of sys.stderr


class _StandardError:
    """``sys.stderr`` as it is at the time of writing. A terminal that was closed ends no work."""

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            _stream().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            _stream().flush()

    def __getattr__(self, name: str) -> Any:
        if name == PROXIED:  # rich would write to that stream itself
            raise AttributeError(name)
        return getattr(_stream(), name)


def _stream() -> TextIO:
    return cast("TextIO", getattr(sys.stderr, PROXIED, sys.stderr))


SCREEN = Console(file=cast("TextIO", _StandardError()), stderr=True)


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a progress bar with the time left, if the standard error stream is a terminal.

    Args:
        text: what is being done.
        total: number of things to do.

    Yields:
        A function to call after each thing, or with the number of things done so far, which may have a fraction.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=SCREEN, disable=not SCREEN.is_terminal) as bar:
        task = bar.add_task(text, total=total)

        def done(so_far: float | None = None) -> None:
            if so_far is None:
                bar.advance(task)
            else:
                bar.update(task, completed=so_far)

        yield done
