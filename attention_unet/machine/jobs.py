"""Run calls of this program in processes of their own, several at once, on this machine."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from attention_unet.machine.progress import format_time

log = logging.getLogger(__name__)

# Not with "-m", which would import files of the present folder.
START = "import sys; sys.path[0] or sys.path.pop(0); from attention_unet.cli import main; sys.exit(main())"
PROGRAM = [sys.executable, "-c", START]
SAID_ONCE = ("error: ", "warning: ")  # lines that several processes would repeat


def run_jobs(calls: Mapping[str, Sequence[str]], at_once: int) -> int:
    """Run calls, several at once. The lines that they log are logged here, each after the name of its call.

    The processes share the processors, unless OMP_NUM_THREADS sets the threads of each. Each sees one GPU; the GPUs of
    this process are divided among them. An interruption of this process ends them as SIGTERM does, a second one at
    once. Return 0 if all calls succeeded, otherwise the largest exit code.
    """
    at_once = min(at_once, len(calls))
    environments: queue.Queue[dict[str, str]] = queue.Queue()
    for number in range(at_once):
        environments.put(_environment(number, at_once))
    log.info("%d processes at once, OMP_NUM_THREADS=%s", at_once, environments.queue[0]["OMP_NUM_THREADS"])
    running: list[subprocess.Popen[str]] = []
    codes: list[int] = []
    said: set[str] = set()
    stopping = threading.Event()
    began = time.monotonic()

    def run(name: str, arguments: Sequence[str]) -> None:
        environment = environments.get()
        try:
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
            if stopping.is_set():
                process.terminate()
            assert process.stderr is not None
            with process.stderr as lines:
                for line in map(str.rstrip, lines):
                    if line not in said:
                        log.info("%s: %s", name, line)
                    if line.startswith(SAID_ONCE):
                        said.add(line)
            code = process.wait()
        finally:
            environments.put(environment)
        if code < 0 and not stopping.is_set():
            reason = ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
            log.error("%s: killed by signal %d%s", name, -code, reason)
        codes.append(code if code >= 0 else 128 - code)
        if (left := len(calls) - len(codes)) and len(calls) > at_once and not stopping.is_set():
            seconds = (time.monotonic() - began) / len(codes) * left
            failed = f"; {count} with errors" if (count := sum(map(bool, codes))) else ""
            log.info("%d of %d done, about %s left%s", len(codes), len(calls), format_time(seconds), failed)

    with ThreadPoolExecutor(at_once) as pool:
        try:
            list(pool.map(run, calls.keys(), calls.values()))
        except BaseException:
            try:
                stopping.set()
                log.info("waiting for the processes to end; press Ctrl-C again to stop at once")
                for process in running:
                    process.terminate()
                pool.shutdown(cancel_futures=True)
            except BaseException:
                for process in running:
                    process.kill()
                raise
            raise
    return max(codes)


def _environment(number: int, at_once: int) -> dict[str, str]:
    """Return the environment of a process: its share of the processors, and the one GPU that it sees."""
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // at_once, 1)))
    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    devices = names if count and names[0].startswith("MIG-") else names[:count]  # a process sees one slice of a card
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)].strip()
    return environment
