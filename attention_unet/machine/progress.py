"""Show progress with the time left: a bar in a terminal, otherwise a line now and then."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

LINE_EVERY = 30.0  # seconds, if there is no terminal for a progress bar


class _StandardError:
    """The current ``sys.stderr``, without the proxy that rich sets in its place. A closed terminal raises no error."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_stream(), name)

    def write(self, text: str) -> None:
        """Write text if possible."""
        with suppress(OSError, ValueError, AttributeError):
            _stream().write(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(OSError, ValueError, AttributeError):
            _stream().flush()


def _stream() -> Any:
    return getattr(sys.stderr, "rich_proxied_file", sys.stderr)


SCREEN = Console(file=cast("TextIO", _StandardError()), stderr=True, markup=False, emoji=False, highlight=False)


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[..., None]]:
    """Show the progress of a task with the time left: a bar in a terminal, otherwise a line every 30 s.

    Yield a function to call after each part, or with the number of finished parts, which may be a fraction.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = last = time.monotonic()
    with Progress(*columns, console=SCREEN, disable=not SCREEN.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        done = bar.tasks[0]

        def update(finished: float | None = None) -> None:
            nonlocal last
            bar.update(task, completed=done.completed + 1 if finished is None else finished)
            now = time.monotonic()
            if bar.disable and 0 < done.completed < total and now - last > LINE_EVERY:
                last = now
                left = format_time((now - began) / done.completed * (total - done.completed))
                log.info("%s: %d of %d, %s left", text, done.completed, total, left)

        yield update


def format_time(seconds: float) -> str:
    """Return seconds in readable units: 45 s, 12 min, 3 h 20 min."""
    if seconds == float("inf"):
        return "?"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
