"""Save and load the state of a training. A resumed run gives the same numbers as an uninterrupted one."""

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

KIND, FORMAT = b"attention_unet-state", b"10"  # the first line of the file: these and the sha256 of the rest
DAMAGES = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError)
STATE = "last.pt"  # name of the file in a run folder


@dataclass(frozen=True)
class LearnerState:
    """State of networks, optimiser and random numbers between two steps; ``device_generator`` is None without a GPU."""

    step: int
    network: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    generator: Tensor
    device_generator: Tensor | None = None


@dataclass
class LoopState:
    """State of the training loop."""

    validations: int = 0  # so far
    loss: float = float("nan")  # smoothed
    seconds: float = float("nan")  # per patch, smoothed
    waited: float = float("nan")  # seconds per patch that the network waited for data, smoothed
    with_late: bool = False  # whether late cases (see ``PreparedCases``) have joined; just before, they are predicted
    component_gains: dict[str, tuple[int, float, float]] = field(default_factory=dict)  # ``ComponentGain`` by class
    validating: float = 0.0  # seconds that validations took so far
    overlap: float | None = None  # of windows, for predictions; None before it was chosen
    case_seconds: float = 0.0  # of a case in one process, in the latest validation
    warned: bool = False  # whether a warning of a low Dice was given
    locating: float = 0.0  # seconds in which a locator was trained, before the first step

    @property
    def patches_a_second(self) -> float:
        """Patches per second."""
        return 1 / self.seconds

    @property
    def waiting(self) -> float:
        """Share of the time in which the network waits for patches, 0 to 1."""
        return self.waited / self.seconds


@dataclass(frozen=True)
class TrainingState:
    """Complete state of a training."""

    loop: LoopState
    elapsed: float  # seconds of training so far
    reserve: float  # seconds to keep for the last validation
    history: list[dict[str, float]]  # rows of history.csv so far
    learner: LearnerState
    settings: Mapping[str, Any]  # resolved settings of the run, as plain values
    locator: Mapping[str, Any] | None = None  # as ``Locator.to_json``; None without a locator
    locator_weights: Mapping[str, Tensor] = field(default_factory=dict)


def save_state(path: Path, state: TrainingState) -> None:
    """Write a state whole or not at all: a line with the sha256, then tensors and plain values."""
    buffer = io.BytesIO()
    torch.save({**vars(state), "loop": vars(state.loop), "learner": vars(state.learner)}, buffer)
    packed = buffer.getbuffer()
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(b" ".join([KIND, FORMAT, _sha256(packed)]) + b"\n")
        file.write(packed)


def load_state(path: Path) -> TrainingState:
    """Read a state without executing code. Raise ModelError if it is missing, damaged, or of another format."""
    try:
        first, _, packed = path.read_bytes().partition(b"\n")
        kind, format_, sha256 = first.split(b" ")
        if kind != KIND or (format_ == FORMAT and sha256 != _sha256(packed)):
            raise ValueError("the content does not match its sha256")
        if format_ != FORMAT:
            raise ModelError(
                f"{path}: has format {format_.decode('ascii', 'replace')}: expected {FORMAT.decode()}; "
                "resume with the version that wrote it"
            )
        content = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
        loop, learner = LoopState(**content.pop("loop")), LearnerState(**content.pop("learner"))
        return TrainingState(loop=loop, learner=learner, **content)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: missing: the run stopped before it saved a state; start it again in a new --run"
        ) from error
    except DAMAGES as error:
        raise ModelError(
            f"{path}: damaged or not the state of a training ({type(error).__name__}): copy it again"
        ) from error


def _sha256(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
