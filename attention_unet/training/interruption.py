"""Ctrl-C and SIGTERM, noticed between two steps instead of in the middle of one."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


@contextmanager
def noticing_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM instead of dying of them; a second one is left to its usual effect."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        log.info("stopping after this step and saving; press Ctrl-C again to stop at once")

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, note)
    try:
        yield caught
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
