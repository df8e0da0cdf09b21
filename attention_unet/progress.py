"""A progress bar over things to be done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def counting(console: Console, text: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar with time left, where there is a terminal to draw it on; gives what to call after each thing, or
    with the number of things done so far, which may have a fraction.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)

        def done(so_far: float | None = None) -> None:
            if so_far is None:
                bar.advance(task)
            else:
                bar.update(task, completed=so_far)

        yield done
