"""Catch Ctrl-C, SIGTERM and a closing terminal, so that a training stops between two steps."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

REPEATED = 0.5  # seconds in which the first signal may arrive twice, as `timeout` and then torchrun send it
KILLING = (signal.SIGINT, signal.SIGTERM)  # at the second signal; a closing terminal repeats SIGHUP by itself
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Stop of a training by the user. ``caught`` are its signals, none if another process got them.

    It is no ``Exception``, so that a loop that goes on after errors stops.
    """

    def __init__(self, message: str, caught: Sequence[int]) -> None:
        super().__init__(message)
        self.caught = caught
        self.exit_code = 128 + (caught[0] if caught else signal.SIGINT)


@contextmanager
def catching_signals() -> Iterator[list[int]]:
    """Yield a list to which signals that ask to stop are added. A second Ctrl-C or SIGTERM ends the process at once.

    In an interactive session, such as a notebook, a second Ctrl-C raises KeyboardInterrupt, so that variables are kept.
    Only the main thread of a program can catch signals; in another one none is collected. Ending at once is safe:
    unfinished files have temporary names that nobody reads.
    """
    caught: list[int] = []

    def collect(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        time.sleep(REPEATED)
        for each in KILLING:
            if each in handled:
                interactive = each == signal.SIGINT and hasattr(sys, "ps1")
                signal.signal(each, before[each] if interactive else signal.SIG_DFL)
        log.info("stopping after this step; press Ctrl-C again to stop at once")

    before = {each: signal.getsignal(each) for each in STOPPING}
    handled = [each for each in STOPPING if each == signal.SIGINT or before[each] != signal.SIG_IGN]  # nohup: no SIGHUP
    if threading.current_thread() is not threading.main_thread():
        handled = []
    for each in handled:
        signal.signal(each, collect)
    try:
        yield caught
    finally:
        for each in handled:
            signal.signal(each, before[each])
