"""The parts of a training, which its loop and its validations use."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from attention_unet.inference.locator import Locator
from attention_unet.training.batches import Batches
from attention_unet.training.budget import Budget
from attention_unet.training.checkpoint import LoopState
from attention_unet.training.learner import Learner
from attention_unet.training.monitor import Monitor
from attention_unet.training.prepared_cases import PreparedCases
from attention_unet.training.resolved_settings import ResolvedSettings


class Stopped(Exception):
    """The user asked to stop a training. A saved state continues it."""


@dataclass
class Training:
    """All parts of a training."""

    run: Path
    settings: ResolvedSettings
    learner: Learner
    batches: Batches
    prepared: PreparedCases
    locator: Locator | None  # finds the part of a scan to predict; None: whole scans are predicted
    budget: Budget
    loop: LoopState  # new, or of a resumed run
    monitor: Monitor | None  # in the first process; None in the others
    stop: Callable[[], bool]  # whether the user asked to stop; called after every step and between validated cases


def synchronise(fabric: Fabric, *values: float) -> list[float]:
    """Return the largest of each value over all processes: their clocks and signals differ."""
    if fabric.world_size == 1:
        return list(values)
    largest: Tensor = fabric.all_reduce(
        torch.tensor(values, dtype=torch.float64, device=fabric.device), reduce_op="max"
    )
    return [float(value) for value in largest]
