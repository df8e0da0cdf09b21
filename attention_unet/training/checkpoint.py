"""The state of a training, whole: what it takes to go on to the very numbers of an unbroken run."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attention_unet.errors import ModelError
from attention_unet.files.atomic import replacing

KIND, FORMAT = b"attention_unet-state", b"6"  # with the sha256 of what follows they are the first line of the file
DAMAGES = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError)
STATE = "last.pt"  # name of the file in a run folder


@dataclass(frozen=True)
class LearnerState:
    """What is learned, between two steps.

    Attributes:
        step: optimiser steps taken.
        network: state of the network.
        averaged: state of the averaged network.
        optimizer: state of the optimiser.
        generator: state of torch's random numbers.
        device_generator: the same on a GPU; None if there is none.
    """

    step: int
    network: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    generator: Tensor
    device_generator: Tensor | None = None


@dataclass
class LoopState:
    """What the loop itself remembers.

    Attributes:
        validations: made.
        loss: smoothed.
        seconds: that a patch takes, smoothed.
        waited: seconds of these that the network waits for it, smoothed.
        with_late: whether the late cases of a ``Training`` are trained on, since they were predicted.
        component_gains: what each class gained on these by keeping only its largest connected component: number of
            cases, sum and sum of squares.
    """

    validations: int = 0
    loss: float = float("nan")
    seconds: float = float("nan")
    waited: float = float("nan")
    with_late: bool = False
    component_gains: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    @property
    def patches_a_second(self) -> float:
        """How fast it goes."""
        return 1 / self.seconds

    @property
    def waiting(self) -> float:
        """Share of the time in which the network waits for patches."""
        return self.waited / self.seconds


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands.

    Attributes:
        loop: what the loop remembers.
        elapsed: seconds taken.
        reserve: seconds kept for the last validation.
        history: rows of history.csv so far.
        learner: what is learned.
        settled: what the run follows from, as plain values.
    """

    loop: LoopState
    elapsed: float
    reserve: float
    history: list[dict[str, float]]
    learner: LearnerState
    settled: Mapping[str, Any]


def save_state(path: Path, state: TrainingState) -> None:
    """Write the state in one piece: tensors and plain values only, after a line with their sha256."""
    buffer = io.BytesIO()
    torch.save({**vars(state), "loop": vars(state.loop), "learner": vars(state.learner)}, buffer)
    with replacing(path) as partial:
        partial.write_bytes(b" ".join([KIND, FORMAT, _sha256(buffer.getvalue())]) + b"\n" + buffer.getvalue())


def load_state(path: Path) -> TrainingState:
    """Read a state; nothing in the file is executed.

    Raises:
        ModelError: if the file is missing, damaged, or of another format.
    """
    try:
        first, _, packed = path.read_bytes().partition(b"\n")
        kind, format_, sha256 = first.split(b" ")
        if kind != KIND or (format_ == FORMAT and sha256 != _sha256(packed)):
            raise ValueError("other content than was written")
        if format_ != FORMAT:
            raise ModelError(
                f"{path}: is of format {format_.decode('ascii', 'replace')}: this version reads {FORMAT.decode()}; "
                "resume with the version that wrote it"
            )
        content = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
        loop, learner = LoopState(**content.pop("loop")), LearnerState(**content.pop("learner"))
        return TrainingState(loop=loop, learner=learner, **content)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: is not there: the run was stopped before it saved; start it again in a new --run"
        ) from error
    except DAMAGES as error:
        raise ModelError(
            f"{path}: is damaged or not a training state ({type(error).__name__}): copy it again"
        ) from error


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
