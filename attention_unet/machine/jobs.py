"""Run calls of this program in processes of their own, several at once, on this machine."""

import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from attention_unet.errors import plural

log = logging.getLogger(__name__)

PROGRAM = [sys.executable, "-m", "attention_unet"]


def run_jobs(calls: Mapping[str, Sequence[str]], at_once: int) -> int:
    """Run calls, several at once. The lines that they log are logged here, each after the name of its call.

    The processes share the processors, unless OMP_NUM_THREADS sets the threads of each. Each sees one GPU: they take
    turns with those that this process sees. An interruption of this process ends them as SIGTERM does, a second one at
    once.

    Args:
        calls: arguments of each call, by a name such as "part 2/4".
        at_once: number of processes at a time, at least 1.

    Returns:
        0 if all calls succeeded, otherwise the largest exit code.
    """
    places: queue.Queue[dict[str, str]] = queue.Queue()
    for number in range(at_once):
        places.put(_environment(number, at_once))
    running: list[subprocess.Popen[str]] = []
    ending = threading.Event()

    def run(name: str, arguments: Sequence[str]) -> int:
        environment = places.get()
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,  # Ctrl-C comes to this process only, which passes it on
        )
        running.append(process)
        if ending.is_set():
            process.terminate()
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                log.info("%s: %s", name, line.rstrip())
        code = process.wait()
        places.put(environment)
        if code < 0:
            log.error("%s: killed by signal %d, perhaps because memory ran out", name, -code)
        return code if code >= 0 else 128 - code

    with ThreadPoolExecutor(at_once) as pool:
        try:
            return max(pool.map(run, calls.keys(), calls.values()))
        except BaseException:
            ending.set()
            log.info("waiting for %s", plural(sum(each.poll() is None for each in running), "process"))
            for each in running:
                each.terminate()
            try:
                pool.shutdown(cancel_futures=True)
            except BaseException:
                for each in running:
                    each.kill()
                raise
            raise


def _environment(number: int, at_once: int) -> dict[str, str]:
    """Return the environment of a process: its share of the processors, and the one GPU that it sees."""
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // at_once, 1)))
    all_devices = ",".join(map(str, range(torch.cuda.device_count())))
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", all_devices).split(",")
    environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)].strip()
    return environment
