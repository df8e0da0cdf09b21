"""Measure memory of machine and process, and set how the C library keeps freed memory."""

import ctypes
import functools
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of malloc.h
WITHOUT_MEMORY = (  # texts of a plain RuntimeError, which the CPU and libraries of GPUs raise
    "out of memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
)
LARGEST_KEPT = 32 * 2**20  # bytes, the maximum of glibc


def reuse_freed_memory(of_any_size: bool = False) -> None:
    """Let glibc keep freed memory for the next tensor. With other C libraries nothing happens.

    By default glibc returns large blocks to the system and requests them again, page by page, at every step. This takes
    up to a third of the time of a training step on a CPU. The price: the process stays at its peak size.

    ``of_any_size`` also keeps blocks above 32 MiB, as tensors of training steps; not for predictions, whose scans
    should leave their memory to the next scan.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(*((M_MMAP_MAX, 0) if of_any_size else (M_MMAP_THRESHOLD, LARGEST_KEPT)))
        mallopt(M_TRIM_THRESHOLD, -1 if of_any_size else 2**31 - 1)  # -1: never


@functools.cache
def machine_memory() -> int:
    """Return the main memory that this process may use, in bytes: of the machine, or of its container or job."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(limit for limit, _ in _limits())])


def free_memory() -> int:
    """Return the bytes that a task may use now: 80% of the free memory, or half of all memory if free is unknown.

    In a container, or a job of a cluster, free memory is at most what its limit leaves.
    """
    free = _read_number(Path("/proc/meminfo"), "MemAvailable:", 1024)
    left = [limit - used for limit, used in _limits()]
    return machine_memory() // 2 if free is None else round(0.8 * max(min([free, *left]), 0))


def _limits(process: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[tuple[int, int]]:
    """Return limit and use of memory, in bytes, of each control group around this process that has a limit.

    Both versions of cgroups are known. Cached files do not count as used, because they can be dropped; files in memory
    (tmpfs, /dev/shm) cannot.
    """
    lines = process.read_text(encoding="utf-8").splitlines() if process.exists() else []
    own = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines)}
    versions = (
        (root, own.get("", "/"), "memory.max", ("anon ", "shmem ")),
        (root / "memory", own.get("memory", "/"), "memory.limit_in_bytes", ("total_rss ", "total_shmem ")),
    )
    found = []
    for top, path, file, kinds in versions:
        group = top / path.lstrip("/")
        for each in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            if limit := _read_number(each / file, ""):
                found.append((limit, sum(_read_number(each / "memory.stat", kind) or 0 for kind in kinds)))
    return found


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch or of Python means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error) for text in WITHOUT_MEMORY)


def peak_memory(device: torch.device) -> int | None:
    """Return the peak memory of the process so far, in bytes; None if the system does not report it.

    On a GPU: memory of its tensors. Otherwise: main memory, with the pages of mapped files that were read.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage: it reports the peak of the parent process if that was larger.
    return _read_number(Path("/proc/self/status"), "VmHWM:", 1024)


def peak_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Return the peak memory of torch during a call, in bytes, beyond the memory that it held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    records: Any = profiler.profiler
    changes = [event for event in records.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate((change.nbytes() for change in changes), initial=0))


def _read_number(file: Path, name: str, unit: int = 1) -> int | None:
    """Return the number after a name at the start of a line, times a unit; None if there is none."""
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        words = line.removeprefix(name).split()
        if line.startswith(name) and words and words[0].isdecimal():
            return unit * int(words[0])
    return None
