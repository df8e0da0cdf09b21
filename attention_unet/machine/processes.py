"""Do the same work on many items: in this process, or in one process per core where that saves time."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from attention_unet.errors import DataError
from attention_unet.machine.memory import free_memory, peak_memory

WORTH = 20.0  # seconds of work left from which processes are started; that takes them about 5 s

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(work: Callable[[Item], Result], items: Sequence[Item], done: Callable[[], None]) -> list[Result]:
    """Return the results of the same work on all items, in their order. Raise DataError if a process was killed.

    The first items are done here, and show how long the others will take. Work and results can be pickled. Each process
    computes with one thread, and may need as much memory as this one has needed at most.
    """
    results: list[Result] = []
    began, processes = time.monotonic(), 1
    for number, item in enumerate(items):
        left = len(items) - number
        if number and (time.monotonic() - began) / number * left > WORTH:
            peak = peak_memory(torch.device("cpu")) or 1
            processes = min(torch.get_num_threads(), left, free_memory() // peak)
            if processes > 1:
                break
        results.append(work(item))
        done()
    if len(results) == len(items):
        return results
    from joblib import Parallel, delayed, parallel_config  # here: it is rarely needed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        with parallel_config("loky", inner_max_num_threads=1):
            for result in Parallel(processes, return_as="generator")(delayed(work)(item) for item in items[number:]):
                results.append(result)
                done()
    except TerminatedWorkerError as error:
        raise DataError(
            "a process was killed, perhaps because memory ran out: end other programs, or set OMP_NUM_THREADS=1 to use "
            "one process"
        ) from error
    return results
