"""Rows of the GPU benchmark, printed as soon as they are measured, and what several sections need."""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from attention_unet.network import Architecture
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels


def row(name: str, measured: str, bound: str = "", ok: bool | None = None) -> None:
    """Print a row; ``ok`` is None where nothing is judged."""
    print(json.dumps([name, measured, bound, "" if ok is None else "yes" if ok else "**no**"]), flush=True)


def plan_of(architecture: Architecture, patch: Sequence[int], batch: int) -> Plan:
    """Return a plan for a network, a patch and a batch."""
    classes = architecture.out_channels - 1
    labels = Labels({f"class {i}": (i,) for i in range(1, classes + 1)}, tuple(range(1, classes + 1)))
    return Plan(
        channels=("MR",),
        labels=labels,
        preprocessing=Preprocessing((1.0, 1.0, 1.0), nonzero=False),
        largest_mm=(512.0, 512.0, 512.0),
        patch=(patch[0], patch[1], patch[2]),
        slice_axis=None,
        mirror_axes=(),
        batch=batch,
        architecture=architecture,
    )


def wait(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_in_turns(works: Sequence[Callable[[], object]], device: torch.device, turns: int) -> list[list[float]]:
    """Time works in turns, after three rounds of warm-up. Return the seconds of each work's turns."""
    taken: list[list[float]] = [[] for _ in works]
    for turn in range(turns + 3):
        for work, each in zip(works, taken, strict=True):
            wait(device)
            began = time.perf_counter()
            work()
            wait(device)
            if turn >= 3:
                each.append(time.perf_counter() - began)
    return taken


def spread(seconds: Sequence[float]) -> str:
    """Format the median and the quartiles of times in ms."""
    low, middle, high = statistics.quantiles([1e3 * s for s in seconds], n=4)
    return f"{middle:.1f} ms ({low:.1f} to {high:.1f})"
