"""Ctrl-C, SIGTERM and a terminal that closes, noticed between two steps instead of in the middle of one."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

INSISTING = (signal.SIGINT, signal.SIGTERM)  # when they come again
ASKING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def catching_signals() -> Iterator[list[int]]:
    """Collect signals that ask to stop instead of dying of them; a second one ends the process at once, whatever it is
    computing, as files that are being written have no name yet that anybody reads. A terminal that closes tells so more
    than once, and nobody is left who could ask again.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for each in asked:
            signal.signal(each, signal.SIG_DFL if each in INSISTING else signal.SIG_IGN)
        log.info("stopping after this step and saving; press Ctrl-C again to stop at once")

    before = {each: signal.getsignal(each) for each in ASKING}
    asked = [each for each in ASKING if each == signal.SIGINT or before[each] != signal.SIG_IGN]  # as nohup sets SIGHUP
    for each in asked:
        signal.signal(each, note)
    try:
        yield caught
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
