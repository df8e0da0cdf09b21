"""The loop: patches in, weights out. Read it from top to bottom."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from attention_unet.config import TrainingConfig
from attention_unet.dataset.cases import Case
from attention_unet.inference.components import ComponentGain, component_gains
from attention_unet.inference.model import save_model
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.preparation.plan import Plan
from attention_unet.training.budget import Budget, learning_rate_factor
from attention_unet.training.checkpoint import STATE, LoopState, TrainingState, save_state
from attention_unet.training.learner import Diverged, Learner
from attention_unet.training.monitor import Monitor
from attention_unet.training.resolved_settings import ResolvedSettings
from attention_unet.training.validation import Validation, mean_dice, validate

SMOOTHING = 0.98  # of the loss and the times that are shown
RESERVED = 1.2  # times the latest validation: the last may take longer than the one before
LATE = 0.8  # share of the budget from which late cases are trained on


@dataclass
class Training:
    """All parts of a training, built and ready.

    Attributes:
        run: the run folder.
        settled: what the run follows from.
        learner: what is trained.
        open_batches: gives batches of image and target, without end, from a step on, without or with late cases.
        held_out: cases to validate on; may be empty.
        late: if none are held out: cases that are predicted once before they are trained on, to decide which classes
            keep only their largest connected component.
        budget: how long to train.
        monitor: in the first process.
        precision: to validate in.
        stop: whether the user asked to stop; asked after every step and between validated cases.
        cases_of: names of the cases that patches of a step are of.
    """

    run: Path
    settled: ResolvedSettings
    learner: Learner
    open_batches: Callable[[int, bool], Iterator[tuple[Tensor, Tensor]]]
    held_out: Sequence[Case]
    late: Sequence[Case]
    budget: Budget
    monitor: Monitor | None
    precision: torch.dtype
    stop: Callable[[], bool]
    cases_of: Callable[[int], list[str]]

    @property
    def config(self) -> TrainingConfig:
        """Budget and schedule."""
        return self.settled.config.training

    @property
    def plan(self) -> Plan:
        """Of network and data."""
        return self.settled.plan


def fit(training: Training, loop: LoopState) -> bool:
    """Train until the budget is spent, or until asked to stop; save the model and the state.

    Args:
        training: its parts.
        loop: of the loop; new, or that of a run which is resumed.

    Returns:
        Whether the budget was spent. If not, the state is saved, and a resumed run goes on to the same numbers.
    """
    config, learner, budget, monitor = training.config, training.learner, training.budget, training.monitor
    saved_at = time.monotonic()
    batches = training.open_batches(learner.step, loop.with_late)
    while True:
        progress, stopping = agree(learner.fabric, budget.progress(learner.step), training.stop())
        if stopping:
            save(training, loop)
            return False

        learning_rate = config.learning_rate * learning_rate_factor(progress, config.warmup)
        learned = learner.step > 0  # the least budget buys a step: what has learned nothing is no model
        if learned and progress >= LATE and training.late and not loop.with_late:
            if not decide_components(training, loop):
                save(training, loop)
                return False
            batches = training.open_batches(learner.step, True)
        if learned and progress >= (loop.validations + 1) / config.validations:
            save(training, loop)
            began = time.monotonic()
            if not validate_and_record(training, loop, learning_rate):
                return False
            saved_at = time.monotonic()
            budget.reserve = RESERVED * (saved_at - began)
            # Validations that fell due during this one are left out, but never the last. One that took less than the
            # one before sets progress back, but is not repeated.
            now, _ = agree(learner.fabric, budget.progress(learner.step), False)
            due = max(int(now * config.validations + 1e-9), loop.validations + 1)
            loop.validations = config.validations if progress >= 1 else min(due, config.validations - 1)
            save(training, loop)
        if learned and progress >= 1:
            return True

        began = time.monotonic()
        image, target = next(batches)
        waited = time.monotonic() - began
        try:
            loss = learner.learn(image, target, learning_rate)
        except Diverged as error:
            raise Diverged(f"{error}; its patches were of {', '.join(training.cases_of(learner.step))}") from error
        loop.loss = smoothed(loop.loss, loss)
        took = time.monotonic() - began
        loop.seconds = smoothed(loop.seconds, took / training.plan.batch)
        loop.waited = smoothed(loop.waited, waited / training.plan.batch)
        if monitor is not None:
            monitor.step(learner.step, progress, loop, learning_rate, budget.seconds_left(learner.step))
        if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
            save(training, loop)
            saved_at = time.monotonic()


def validate_and_record(training: Training, loop: LoopState, learning_rate: float) -> bool:
    """Score the held-out cases, each process its share, record the result and save the averaged weights.

    The weights saved are the averaged ones of the latest validation, not the best on the held-out cases: choosing by
    those would make the figure reported on them too good.

    Returns:
        Whether it ran to its end.
    """
    learner, plan = training.learner, training.plan
    if training.monitor is not None:
        training.monitor.validating()
    found = predict_share(training, training.held_out)
    if found is None:
        return False
    result, dice, of_largest = found
    if training.monitor is not None:
        names = plan.labels.names
        means = mean_dice(dice, len(names))
        defined = [mean for mean in means if mean == mean]
        row = {
            "step": learner.step,
            "minutes": training.budget.elapsed / 60,
            "learning_rate": learning_rate,
            "loss": loop.loss,
            "patches_a_second": loop.patches_a_second,
            "waiting": loop.waiting,
            "dice": sum(defined) / len(defined) if defined else float("nan"),
            **{f"dice {name}": mean for name, mean in zip(names, means, strict=True)},
        }
        training.monitor.validation(row, result.scenes, result.focus)
        if training.held_out:
            loop.component_gains = as_plain(component_gains(dice, of_largest, names))
        settled = training.settled
        notes = {
            "trained": {key: value if math.isfinite(value) else None for key, value in row.items()},
            "component_gains": loop.component_gains,
            "trained_on": TrainedOn.of({case: settled.digests[case] for case in settled.split.training}).to_json(),
        }
        save_model(training.run, learner.averaged.state_dict(), plan, notes)
    return True


def decide_components(training: Training, loop: LoopState) -> bool:
    """Predict the late cases, before they are trained on, and record what keeping the largest components gains.

    Returns:
        Whether it ran to its end.
    """
    found = predict_share(training, training.late)
    if found is None:
        return False
    _, dice, of_largest = found
    loop.component_gains = as_plain(component_gains(dice, of_largest, training.plan.labels.names))
    loop.with_late = True
    return True


def predict_share(
    training: Training, cases: Sequence[Case]
) -> tuple[Validation, dict[str, list[float]], dict[str, list[float]]] | None:
    """Score cases by the averaged network, each process its share.

    Returns:
        What this process found, and of the cases of all processes the Dice of each class, as predicted and if each
        class keeps only its largest connected component; None if a process was stopped.
    """
    fabric = training.learner.fabric
    result = validate(
        training.learner.averaged,
        training.plan,
        cases[fabric.global_rank :: fabric.world_size],
        device=fabric.device,
        precision=training.precision,
        stop=training.stop,
    )
    dice = gather(fabric, None if result is None else result.dice)
    of_largest = gather(fabric, None if result is None else result.of_largest)
    return None if result is None or dice is None or of_largest is None else (result, dice, of_largest)


def as_plain(gains: Mapping[str, ComponentGain]) -> dict[str, tuple[int, float, float]]:
    """Plain values for a JSON file."""
    return {name: (gain.cases, gain.total, gain.squares) for name, gain in gains.items()}


def save(training: Training, loop: LoopState) -> None:
    """Write the state of the training, in the first process."""
    if training.monitor is not None:
        state = TrainingState(
            loop=loop,
            elapsed=training.budget.elapsed,
            reserve=training.budget.reserve,
            history=training.monitor.history,
            learner=training.learner.state(),
            settled=training.settled.to_plain(),
        )
        save_state(training.run / STATE, state)


def smoothed(before: float, value: float) -> float:
    """Moving average that begins with its first value."""
    return value if before != before else SMOOTHING * before + (1 - SMOOTHING) * value


def agree(fabric: Fabric, progress: float, stopping: bool) -> tuple[float, bool]:
    """The same progress and the same wish in all processes, the farthest of each: clocks and signals differ."""
    if fabric.world_size == 1:
        return progress, stopping
    own = torch.tensor([progress, float(stopping)], dtype=torch.float64, device=fabric.device)
    farthest = fabric.all_reduce(own, reduce_op="max")
    return float(farthest[0]), bool(farthest[1] > 0)


def gather(fabric: Fabric, dice: dict[str, list[float]] | None) -> dict[str, list[float]] | None:
    """Dice of the cases of all processes; None if one of them was stopped."""
    if fabric.world_size == 1:
        return dice
    parts: list[dict[str, list[float]] | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, dice)
    merged: dict[str, list[float]] = {}
    for part in parts:
        if part is None:
            return None
        merged.update(part)
    return merged
