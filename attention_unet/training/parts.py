"""The parts of a training, which its loop and its validations use."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from attention_unet.inference.locator import Locator
from attention_unet.training.batches import Batches
from attention_unet.training.budget import Budget
from attention_unet.training.checkpoint import LoopState
from attention_unet.training.learner import Learner
from attention_unet.training.monitor import Monitor
from attention_unet.training.prepared_cases import PreparedCases
from attention_unet.training.resolved_settings import ResolvedSettings


@dataclass
class Training:
    """All parts of a training.

    Attributes:
        locator: finds the part of a scan to predict; None: whole scans are predicted.
        loop: state of the loop, new or of a resumed run.
        monitor: display of the training in the first process; None in the others.
        stop: function that returns whether the user asked to stop; called after every step and between validated cases.
    """

    run: Path
    settings: ResolvedSettings
    learner: Learner
    batches: Batches
    prepared: PreparedCases
    locator: Locator | None
    budget: Budget
    loop: LoopState
    monitor: Monitor | None
    stop: Callable[[], bool]


def synchronise(fabric: Fabric, progress: float, stopping: bool) -> tuple[float, bool]:
    """Return the largest progress of all processes, and whether any of them stops: their clocks and signals differ."""
    if fabric.world_size == 1:
        return progress, stopping
    values = torch.tensor([progress, float(stopping)], dtype=torch.float64, device=fabric.device)
    largest = fabric.all_reduce(values, reduce_op="max")
    return float(largest[0]), bool(largest[1] > 0)
