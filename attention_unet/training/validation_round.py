"""Validate during a training and record the results: on as many cases as there is time for, at the end on all."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from attention_unet.dataset.cases import Case
from attention_unet.inference.components import component_gains
from attention_unet.inference.model_file import save_model
from attention_unet.machine.devices import choose_precision
from attention_unet.training.monitor import format_dice
from attention_unet.training.parts import Stopped, Training, synchronise
from attention_unet.training.validation import (
    LARGER_OVERLAP,
    OVERLAP,
    OVERLAP_CASES,
    Validation,
    judge_overlap,
    validate,
)

log = logging.getLogger(__name__)

LOW_DICE, LOW_FROM = 0.5, 0.4  # a warning is given below this Dice after this share of the budget


def validate_and_record(training: Training, progress: float, learning_rate: float) -> None:
    """Validate on held-out cases, record the result and save the averaged weights.

    With a budget in minutes, a validation takes as many cases as its time allows; the last one usually takes all. If
    one case would take too long, the windows of the last validation do not overlap.

    The saved weights are those of the latest validation, not the best on the held-out cases: that choice would make
    their Dice too high.
    """
    if training.monitor is not None:
        training.monitor.start_validation()
    last, budget, held_out = progress >= 1, training.budget, training.prepared.held_out_cases
    loop = training.loop
    seconds = budget.last_validation_seconds if last else budget.validation_seconds
    overlap = OVERLAP if not last or budget.can_overlap_in_last(loop.case_seconds) else 0.0
    validation = validate_timed(training, held_out, overlap, seconds)
    if not last:
        keep_time_for_last(training)
    elif held_out:
        if len(validation.dice) < len(held_out):
            log.info("the last validation was on %d of %d held-out cases", len(validation.dice), len(held_out))
        try_overlap(training, held_out, validation)
    if training.monitor is not None:
        row = history_row(training, validation, learning_rate)
        training.monitor.record_validation(row, validation, last)
        warn_if_low(training, progress, row)
        if held_out and overlap:
            record_component_gains(training, validation)
        elif held_out:
            loop.component_gains = {}  # seams of windows without overlap look like components
        weights, plan = training.learner.averaged.state_dict(), training.settings.plan
        save_model(training.run, weights, plan, describe(training, row), training.locator)


def keep_time_for_last(training: Training) -> None:
    """Keep time for the last validation, by the seconds that one process takes for a case."""
    if held_out := training.prepared.held_out_cases:
        case_seconds, processes = training.loop.case_seconds, training.learner.fabric.world_size
        training.budget.keep_time_for_last(math.ceil(len(held_out) / processes) * case_seconds, case_seconds)


def warn_if_low(training: Training, progress: float, row: Mapping[str, float]) -> None:
    """Warn once if mean Dice is low although much of the budget is spent."""
    loop = training.loop
    if progress < LOW_FROM or not row["dice"] < LOW_DICE or loop.warned:
        return
    loop.warned = True
    plan, advice = training.settings.plan, "train longer"
    measured = [dice for name in plan.labels.names if not math.isnan(dice := row[f"dice {name}"])]
    found = [dice > 0 for dice in measured]
    patch_mm = np.multiply(plan.patch, plan.preprocessing.spacing_mm)
    seen = np.arange(3) != plan.slice_axis
    if any(found) and not all(found):
        advice += ", or raise data.foreground_share for classes that are not found yet"
    elif (patch_mm < (plan.region_mm or plan.largest_mm))[seen].any():
        advice += ", or let a patch see more of a scan (coarser data.spacing_mm, or larger data.patch)"
    log.warning(
        "mean Dice is only %s after %.0f %% of the budget: %s", format_dice(row["dice"]), 100 * progress, advice
    )


def describe(training: Training, row: Mapping[str, float]) -> dict[str, Any]:
    """Return the fields of a model file about its training."""
    settings, loop = training.settings, training.loop
    description: dict[str, Any] = {
        "trained": {key: value if math.isfinite(value) else None for key, value in row.items()},
        "component_gains": loop.component_gains,
        "overlap": loop.overlap,
    }
    if settings.origin:
        description["started_from"] = {"model": settings.origin.model, "sha256": settings.origin.sha256}
    if trained_on := settings.trained_on:
        description["trained_on"] = trained_on.to_json()
    return description


def history_row(training: Training, validation: Validation, learning_rate: float) -> dict[str, float]:
    """Return the row of a validation for ``history.csv``."""
    names, loop = training.settings.plan.labels.names, training.loop
    table = np.array([validation.dice[case] for case in sorted(validation.dice)]).reshape(-1, len(names))
    means = np.ma.masked_invalid(table).mean(axis=0).filled(np.nan).tolist()  # NaN: no case has the class
    defined = [mean for mean in means if mean == mean]
    return {
        "step": training.learner.step,
        "minutes": training.budget.elapsed / 60,
        "learning_rate": learning_rate,
        "loss": loop.loss,
        "patches_a_second": loop.patches_a_second,
        "waiting": loop.waiting,
        "cases": len(validation.dice),
        "dice": sum(defined) / len(defined) if defined else float("nan"),
        **{f"dice {name}": mean for name, mean in zip(names, means, strict=True)},
    }


def decide_components(training: Training) -> None:
    """Validate on the late cases before they are trained on, and record the gain of dropping small components."""
    late = training.prepared.late_cases
    validation = validate_timed(training, late, OVERLAP, training.budget.validation_seconds)
    try_overlap(training, late, validation)
    record_component_gains(training, validation)
    training.loop.with_late = True


def try_overlap(training: Training, cases: Sequence[Case], validation: Validation) -> None:
    """Choose the overlap of windows for predictions by ``judge_overlap``; the larger one if there is no time to try."""
    loop = training.loop
    loop.overlap = LARGER_OVERLAP
    some = [case for case in cases if case.id in validation.dice][:OVERLAP_CASES]
    if training.budget.can_choose_overlap(loop.case_seconds):
        larger = validate_timed(training, some, LARGER_OVERLAP, training.budget.validation_seconds)
        loop.overlap = judge_overlap(larger, validation)


def validate_timed(training: Training, cases: Sequence[Case], overlap: float, seconds: float | None) -> Validation:
    """Validate the averaged network, and add the time to the state of the loop.

    The processes share the cases. After ``seconds``, a process begins no further case. Return Dice for the cases of all
    processes, with examples from this process. Raise Stopped in all processes if the user asked one to stop.
    """
    began, fabric, loop = time.monotonic(), training.learner.fabric, training.loop
    validation = validate(
        training.learner.averaged,
        training.settings.plan,
        cases[fabric.global_rank :: fabric.world_size],
        device=fabric.device,
        precision=choose_precision(training.settings.config.training.precision, fabric.device),
        stop=training.stop,
        locator=training.locator,
        overlap=overlap,
        seconds=seconds,
    )
    parts: list[Validation | None] = [validation]
    if fabric.world_size > 1:
        parts = [None] * fabric.world_size
        torch.distributed.all_gather_object(parts, validation and replace(validation, scenes=[], attention=[]))
    finished = [part for part in parts if part is not None]
    if validation is None or len(finished) < len(parts):
        raise Stopped
    (took,) = synchronise(fabric, time.monotonic() - began)  # the same in all processes
    loop.validating += took
    dice = {case: scores for part in finished for case, scores in part.dice.items()}
    cleaned = {case: scores for part in finished for case, scores in part.dice_cleaned.items()}
    if overlap == OVERLAP and dice:
        loop.case_seconds = took / math.ceil(len(dice) / fabric.world_size)
    return replace(validation, dice=dice, dice_cleaned=cleaned)


def record_component_gains(training: Training, validation: Validation) -> None:
    """Record what each class gains if its small components are dropped."""
    gains = component_gains(validation.dice, validation.dice_cleaned, training.settings.plan.labels.names)
    training.loop.component_gains = {name: (gain.cases, gain.total, gain.squares) for name, gain in gains.items()}
