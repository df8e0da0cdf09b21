"""How the process keeps its memory, and how much of it."""

import ctypes
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
COMMON = 8 * 2**30  # bytes; where the system does not tell
LARGEST_KEPT = 32 * 2**20  # bytes; the most that glibc takes


def reuse_freed_memory() -> bool:
    """Let the C library keep freed memory for the next tensor, where it is glibc; elsewhere nothing happens.

    By default it gives large blocks back to the system and asks for them again, page by page, at every step: measured
    by ``benchmarks/throughput.py``, that was a sixth of the time of a training step on a CPU. The price is that the
    process stays as large as it was at its largest.

    Returns:
        Whether the library agreed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


@functools.cache
def machine_memory() -> int:
    """Bytes of main memory that this process may use: the machine's, or those of its container if they are fewer."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else COMMON
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return min(whole, int(text)) if text.isdecimal() else whole


def free_memory() -> int:
    """Bytes that a task may well take now: most of what the system says is free, or half of all where it does not.

    Of a container that shares the machine, no more than what its limit leaves.
    """
    known = Path("/proc/meminfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    free = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    of_container = Path("/sys/fs/cgroup/memory.stat")  # "anon" is what cannot be let go, as cached files can
    lines = of_container.read_text(encoding="utf-8").splitlines() if of_container.exists() else []
    used = next((int(line.split()[1]) for line in lines if line.startswith("anon ")), 0)
    return machine_memory() // 2 if free is None else round(0.8 * max(min(free, machine_memory() - used), 0))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, or of Python, tells that memory does not suffice."""
    told = ("out of memory", "can't allocate memory")  # on a CPU and of some kernels, by its words alone
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes that the process has held so far: tensors on a GPU if it computes on one; else main memory, with the
    pages of mapped files that it has looked at.

    Returns:
        None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # getrusage would tell of the process that started this one, if that was larger
    if not status.exists():
        return None
    lines = status.read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def peak_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Most bytes that torch holds at once during a run, beyond those it held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: float(e["ts"]))
    if not changes:
        return 0
    held_before = changes[0]["args"]["Total Allocated"] - changes[0]["args"]["Bytes"]
    return int(max(change["args"]["Total Allocated"] for change in changes) - held_before)
