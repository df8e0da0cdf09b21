"""Run the training loop: patches in, weights out."""

import math
import time
from collections import deque

from attention_unet.machine.threads import ThreadChooser
from attention_unet.training.budget import CASE_WORK, learning_rate_factor
from attention_unet.training.checkpoint import STATE, TrainingState, save_state
from attention_unet.training.learner import Diverged, Step
from attention_unet.training.parts import Stopped, Training, synchronise
from attention_unet.training.validation_round import decide_components, keep_time_for_last, validate_and_record

SMOOTHING = 0.98  # of the displayed loss and times
ESTIMATED_AT = 10  # steps after which, and after ten times as many, the time to validate a case is estimated
AHEAD = {"cpu": 0, "cuda": 1, "mps": 1}  # steps that a device may still compute while the next one is prepared
LATE = 0.8  # share of the budget after which late cases are trained on


def fit(training: Training) -> None:
    """Train until the budget is spent, and save the model and the state.

    Raise Stopped if the user asks to stop. A resumed run then continues with the same numbers.
    """
    settings, learner, budget, monitor = training.settings, training.learner, training.budget, training.monitor
    loop = training.loop
    config, patches = settings.config.training, settings.plan.batch
    threads = ThreadChooser(fixed=budget.seconds is None) if learner.fabric.device.type == "cpu" else None
    ahead, running = AHEAD[learner.fabric.device.type], deque[Step]()
    saved_at, validated = time.monotonic(), False
    batches = training.batches.open(learner.step, loop.with_late)
    while True:
        progress, stopping = synchronise(learner.fabric, budget.progress(learner.step), training.stop())
        if stopping:
            finish_steps(training, running)
            save_training(training)
            raise Stopped

        learning_rate = config.learning_rate * learning_rate_factor(progress, config.warmup)
        learned = learner.step > 0  # at least one step: an untrained network is no model
        if learned and progress >= LATE and training.prepared.late_cases and not loop.with_late:
            finish_steps(training, running)
            save_training(training)
            decide_components(training)
            batches = training.batches.open(learner.step, True)
        due = progress >= (loop.validations + 1) / config.validations
        if learner.step - budget.steps_before in (ESTIMATED_AT, 10 * ESTIMATED_AT) and not validated:
            expect_validations(training)  # also after a resumption, perhaps on another machine
        if learned and due and (progress >= 1 or budget.may_validate(progress, loop.validating, loop.case_seconds)):
            finish_steps(training, running)
            save_training(training)
            validate_and_record(training, progress, learning_rate)
            saved_at, validated = time.monotonic(), True
            # Validations that became due during this one are skipped, but not the last. The count always rises, so
            # that none is repeated if a smaller reserve lowers the progress.
            (now,) = synchronise(learner.fabric, budget.progress(learner.step))
            passed = max(int(now * config.validations + 1e-9), loop.validations + 1)
            loop.validations = config.validations if progress >= 1 else min(passed, config.validations - 1)
            save_training(training)
        if learned and progress >= 1:
            return

        began = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - began
        running.append(learner.learn(batch, learning_rate, progress < config.fixed_encoder))
        finish_steps(training, running, ahead)
        seconds = time.monotonic() - began
        if threads is not None:
            threads.record(seconds - waited)
        if learner.step - budget.steps_before == 2:
            loop.seconds = loop.waited = math.nan  # the first step also started the device and the readers
        loop.seconds = smooth(loop.seconds, seconds / patches)
        loop.waited = smooth(loop.waited, waited / patches)
        if monitor is not None:
            monitor.record_step(learner.step, progress, loop, learning_rate, budget.seconds_left(learner.step))
        if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
            finish_steps(training, running)
            save_training(training)
            saved_at = time.monotonic()


def finish_steps(training: Training, running: deque[Step], ahead: int = 0) -> None:
    """Wait until only ``ahead`` steps are not finished, and record the losses of the others, or raise Diverged."""
    loop = training.loop
    while len(running) > ahead:
        step = running.popleft()
        try:
            loop.loss = smooth(loop.loss, step.read_loss())
        except Diverged as error:
            cases = ", ".join(training.batches.cases_of(step.number - 1, loop.with_late))
            raise Diverged(f"{error}; the patches of this step are from {cases}") from error


def expect_validations(training: Training) -> None:
    """Estimate how long one process takes to validate a case, and keep time for the last validation."""
    fabric, plan, loop = training.learner.fabric, training.settings.plan, training.loop
    patch_seconds = loop.seconds * fabric.world_size  # the processes share the patches of a step
    seconds = CASE_WORK * training.prepared.typical_voxels(plan) / math.prod(plan.patch) * patch_seconds
    (loop.case_seconds,) = synchronise(fabric, seconds)
    keep_time_for_last(training)


def save_training(training: Training) -> None:
    """Write the state of the training in the first process."""
    if training.monitor is not None:
        locator = training.locator
        state = TrainingState(
            loop=training.loop,
            elapsed=training.budget.elapsed,
            reserve=training.budget.reserve,
            history=training.monitor.history,
            learner=training.learner.state(),
            settings=training.settings.to_plain(),
            locator=locator.to_json() if locator else None,
            locator_weights=locator.network.state_dict() if locator else {},
        )
        save_state(training.run / STATE, state)


def smooth(before: float, value: float) -> float:
    """Return the moving average after a value; ``before`` is NaN at the first value."""
    return value if before != before else SMOOTHING * before + (1 - SMOOTHING) * value
