"""Time contenders in turns, each in its own process, so that drifts of the machine's speed affect all alike."""

import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

PAUSE = 0.1  # seconds for the previous contender's threads to go to sleep
MATRIX = 4096

Work = Callable[[], object]
Start = Callable[[], tuple[Any, Work]]  # prepares; returns facts and the work of a turn


def take_turns(starts: Sequence[Start], threads: int, turns: int) -> tuple[list[Any], list[list[float]]]:
    """Return the facts of each contender, and the seconds of each of its turns.

    Args:
        starts: module-level functions, one per contender, also with arguments bound by ``partial``.
        threads: threads per contender.
        turns: turns per contender.
    """
    context = get_context("spawn")
    ends = []
    for start in starts:
        here, there = context.Pipe()
        context.Process(target=_contend, args=(start, threads, there), daemon=True).start()
        ends.append(here)
    told = [end.recv() for end in ends]
    seconds: list[list[float]] = [[] for _ in ends]
    for _ in range(turns):
        for end, taken in zip(ends, seconds, strict=True):
            time.sleep(PAUSE)
            end.send(True)
            taken.append(end.recv())
    for end in ends:
        end.send(False)
    return told, seconds


def product() -> tuple[int, Work]:
    """Return the operations and the work of a product of two large bfloat16 matrices: the peak rate."""
    a, b = (torch.randn(MATRIX, MATRIX, dtype=torch.bfloat16) for _ in range(2))
    return 2 * MATRIX**3, lambda: a @ b


def _contend(start: Start, threads: int, orders: Connection) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    told, work = start()
    work()  # the first turn is slower
    orders.send(told)
    while orders.recv():
        began = time.perf_counter()
        work()
        orders.send(time.perf_counter() - began)
