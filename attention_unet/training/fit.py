"""Run the training loop: patches in, weights out."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from attention_unet.dataset.cases import Case
from attention_unet.inference.components import component_gains
from attention_unet.inference.model_file import save_model
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.machine.devices import choose_precision
from attention_unet.training.budget import Budget, learning_rate_factor
from attention_unet.training.checkpoint import STATE, LoopState, TrainingState, save_state
from attention_unet.training.learner import Diverged, Learner
from attention_unet.training.monitor import Monitor, format_dice
from attention_unet.training.resolved_settings import ResolvedSettings
from attention_unet.training.validation import OVERLAP, Validation, mean_dice, validate

log = logging.getLogger(__name__)

SMOOTHING = 0.98  # of the displayed loss and times
LOW_DICE, LOW_FROM, LOW_UNTIL = 0.5, 0.4, 0.7  # a warning is given below this Dice between these shares of the budget
LATE = 0.8  # share of the budget after which late cases are trained on


@dataclass
class Training:
    """All parts of a training.

    Attributes:
        run: run folder.
        settings: resolved settings of the run.
        learner: network in training.
        open_batches: function that returns endless batches of image and target, from a step on, with or without late
            cases.
        held_out: cases to validate on; may be empty.
        late: training cases that are predicted once before they are trained on; empty if there are held-out cases.
            They decide which classes keep only their largest connected component.
        budget: budget of the training.
        monitor: display of the training in the first process; None in the others.
        stop: function that returns whether the user asked to stop; called after every step and between validated cases.
        cases_of: function that returns the case ids of the patches of a step.
    """

    run: Path
    settings: ResolvedSettings
    learner: Learner
    open_batches: Callable[[int, bool], Iterator[tuple[Tensor, Tensor]]]
    held_out: Sequence[Case]
    late: Sequence[Case]
    budget: Budget
    monitor: Monitor | None
    stop: Callable[[], bool]
    cases_of: Callable[[int], list[str]]


def fit(training: Training, loop: LoopState) -> bool:
    """Train until the budget is spent or the user asks to stop. Save the model and the state.

    Args:
        training: parts of the training.
        loop: state of the loop, new or of a resumed run.

    Returns:
        Whether the budget was spent. If not, the state is saved, and a resumed run continues with the same numbers.
    """
    settings, learner, budget, monitor = training.settings, training.learner, training.budget, training.monitor
    config, batch = settings.config.training, settings.plan.batch
    saved_at = time.monotonic()
    batches = training.open_batches(learner.step, loop.with_late)
    while True:
        progress, stopping = synchronise(learner.fabric, budget.progress(learner.step), training.stop())
        if stopping:
            save_training(training, loop)
            return False

        learning_rate = config.learning_rate * learning_rate_factor(progress, config.warmup)
        learned = learner.step > 0  # at least one step: an untrained network is no model
        if learned and progress >= LATE and training.late and not loop.with_late:
            if not decide_components(training, loop):
                save_training(training, loop)
                return False
            batches = training.open_batches(learner.step, True)
        due = progress >= (loop.validations + 1) / config.validations
        if learned and due and (progress >= 1 or budget.may_validate(progress, loop.validating)):
            save_training(training, loop)
            if not validate_and_record(training, loop, progress, learning_rate):
                return False
            saved_at = time.monotonic()
            # Validations that fell due meanwhile count as done, but never the last. The count always rises: a reserve
            # that shrinks, and with it the progress, repeats none.
            now, _ = synchronise(learner.fabric, budget.progress(learner.step), False)
            passed = max(int(now * config.validations + 1e-9), loop.validations + 1)
            loop.validations = config.validations if progress >= 1 else min(passed, config.validations - 1)
            save_training(training, loop)
        if learned and progress >= 1:
            return True

        began = time.monotonic()
        image, target = next(batches)
        waited = time.monotonic() - began
        try:
            loss = learner.learn(image, target, learning_rate)
        except Diverged as error:
            cases = ", ".join(training.cases_of(learner.step))
            raise Diverged(f"{error}; the patches of this step are from {cases}") from error
        loop.loss = smooth(loop.loss, loss)
        seconds = time.monotonic() - began
        loop.seconds = smooth(loop.seconds, seconds / batch)
        loop.waited = smooth(loop.waited, waited / batch)
        if monitor is not None:
            monitor.record_step(learner.step, progress, loop, learning_rate, budget.seconds_left(learner.step))
        if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
            save_training(training, loop)
            saved_at = time.monotonic()


def validate_and_record(training: Training, loop: LoopState, progress: float, learning_rate: float) -> bool:
    """Validate on held-out cases, record the result and save the averaged weights.

    The last validation is on all of them. Others of a budget in minutes are on as many as their time allows. If even
    the last would take too long, its windows do not overlap.

    The saved weights are those of the latest validation, not the best on the held-out cases: that choice would make
    their Dice too high.

    Returns:
        Whether the validation finished.
    """
    learner, plan, budget = training.learner, training.settings.plan, training.budget
    if training.monitor is not None:
        training.monitor.start_validation()
    began, last = time.monotonic(), progress >= 1
    overlap = 0.0 if last and loop.hurried else OVERLAP
    validation = validate_together(training, training.held_out, overlap, None if last else budget.validation_seconds)
    if validation is None:
        return False
    seconds, _ = synchronise(learner.fabric, time.monotonic() - began, False)  # the same in all processes
    loop.validating += seconds
    loop.hurried = budget.keep_time_for_last(seconds * len(training.held_out) / max(len(validation.dice), 1))
    if training.monitor is not None:
        names = plan.labels.names
        means = mean_dice(validation.dice, len(names))
        defined = [mean for mean in means if mean == mean]
        row = {
            "step": learner.step,
            "minutes": training.budget.elapsed / 60,
            "learning_rate": learning_rate,
            "loss": loop.loss,
            "patches_a_second": loop.patches_a_second,
            "waiting": loop.waiting,
            "cases": len(validation.dice),
            "dice": sum(defined) / len(defined) if defined else float("nan"),
            **{f"dice {name}": mean for name, mean in zip(names, means, strict=True)},
        }
        training.monitor.record_validation(row, validation.scenes, validation.attention)
        if LOW_FROM <= progress < LOW_UNTIL and row["dice"] < LOW_DICE:
            log.warning(
                "mean Dice is only %s after %.0f %% of the budget: train longer, or let a patch see more of a scan "
                "(coarser data.spacing_mm, or larger data.patch)",
                format_dice(row["dice"]),
                100 * progress,
            )
        if training.held_out:
            record_component_gains(loop, validation, names)
        settings = training.settings
        description = {
            "trained": {key: value if math.isfinite(value) else None for key, value in row.items()},
            "component_gains": loop.component_gains,
            "trained_on": TrainedOn.of({case: settings.digests[case] for case in settings.split.training}).to_json(),
        }
        save_model(training.run, learner.averaged.state_dict(), plan, description)
    return True


def decide_components(training: Training, loop: LoopState) -> bool:
    """Validate on the late cases before they are trained on, and record the gain of keeping the largest components.

    Returns:
        Whether the validation finished.
    """
    validation = validate_together(training, training.late, OVERLAP, training.budget.validation_seconds)
    if validation is None:
        return False
    record_component_gains(loop, validation, training.settings.plan.labels.names)
    loop.with_late = True
    return True


def validate_together(
    training: Training, cases: Sequence[Case], overlap: float, seconds: float | None
) -> Validation | None:
    """Validate the averaged network on cases that the processes share.

    Args:
        training: parts of the training.
        cases: cases to predict.
        overlap: overlap of windows.
        seconds: time after which a process takes no further case; None for all cases.

    Returns:
        Dice for the cases of all processes, with examples from this process; None if a process was stopped.
    """
    fabric = training.learner.fabric
    validation = validate(
        training.learner.averaged,
        training.settings.plan,
        cases[fabric.global_rank :: fabric.world_size],
        device=fabric.device,
        precision=choose_precision(training.settings.config.training.precision, fabric.device),
        stop=training.stop,
        overlap=overlap,
        seconds=seconds,
    )
    if fabric.world_size == 1:
        return validation
    parts: list[Validation | None] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, validation and replace(validation, scenes=[], attention=[]))
    finished = [part for part in parts if part is not None]
    if validation is None or len(finished) < len(parts):
        return None
    return replace(
        validation,
        dice={case: dice for part in finished for case, dice in part.dice.items()},
        dice_largest={case: dice for part in finished for case, dice in part.dice_largest.items()},
    )


def record_component_gains(loop: LoopState, validation: Validation, names: Sequence[str]) -> None:
    """Record what each class gains if it keeps only its largest component."""
    gains = component_gains(validation.dice, validation.dice_largest, names)
    loop.component_gains = {name: (gain.cases, gain.total, gain.squares) for name, gain in gains.items()}


def save_training(training: Training, loop: LoopState) -> None:
    """Write the state of the training in the first process."""
    if training.monitor is not None:
        state = TrainingState(
            loop=loop,
            elapsed=training.budget.elapsed,
            reserve=training.budget.reserve,
            history=training.monitor.history,
            learner=training.learner.state(),
            settings=training.settings.to_plain(),
        )
        save_state(training.run / STATE, state)


def smooth(before: float, value: float) -> float:
    """Return the moving average after a value; ``before`` is NaN at the first value."""
    return value if before != before else SMOOTHING * before + (1 - SMOOTHING) * value


def synchronise(fabric: Fabric, progress: float, stopping: bool) -> tuple[float, bool]:
    """Return the largest progress of all processes, and whether any of them stops: their clocks and signals differ."""
    if fabric.world_size == 1:
        return progress, stopping
    values = torch.tensor([progress, float(stopping)], dtype=torch.float64, device=fabric.device)
    largest = fabric.all_reduce(values, reduce_op="max")
    return float(largest[0]), bool(largest[1] > 0)
