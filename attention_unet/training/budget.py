"""Measure the progress of a training against its budget in steps or in minutes."""

import math
import time
from dataclasses import dataclass, field

from attention_unet.config import TrainingConfig

VALIDATING = 0.04  # largest share of a budget in minutes for validations before the last; as much is kept for that
CASE_WORK = 0.8  # time to predict the voxels of a patch / time to train on them
LARGER_OVERLAP_WORK = 1.5**3  # time to predict with an overlap of 0.5 / time with 0.25
LARGEST_CASE = 0.1  # share of a budget in minutes; if a case takes longer, the last validation is without overlap
FALLING = 1 / 2  # last share of a budget, over which the learning rate falls; docs/experiments.md, 2026-11-30
LOWEST_RATE = 0.01  # least share of the learning rate
RESERVED = 1.2  # time kept for the last validation, and the most it may take / time expected for it


@dataclass
class Budget:
    """Budget of a training in steps or in seconds. A training runs while its progress is below 1.

    A budget in seconds is kept on any machine, however busy; its results are not repeatable. Those of a budget in
    steps are.
    """

    steps: int | None
    seconds: float | None
    reserve: float = 0.0  # seconds to keep for the last validation
    elapsed_before: float = 0.0  # seconds of training before the run was resumed
    locating: float = 0.0  # of these, seconds in which a locator was trained; the network's progress begins after them
    steps_before: int = 0  # steps of training before the run was resumed
    started: float = field(default_factory=lambda: time.monotonic())  # when this training, or its resumption, began

    @classmethod
    def from_config(cls, config: TrainingConfig) -> "Budget":
        """Return the configured budget."""
        return cls(config.steps, config.budget_minutes and 60 * config.budget_minutes)

    @property
    def elapsed(self) -> float:
        """Seconds of training, without the time between stop and resume."""
        return self.elapsed_before + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """Return the progress after a step: 0 at the start, 1 at the end."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        seconds = max((self.seconds or 0.0) - self.reserve - self.locating, 1e-3)
        return min((self.elapsed - self.locating) / seconds, 1.0)

    @property
    def validation_seconds(self) -> float | None:
        """Seconds after which a validation before the last, or the choice of the overlap of windows, takes no further
        case; None for a budget in steps.
        """
        return None if self.seconds is None else VALIDATING * self.seconds / 2

    @property
    def last_validation_seconds(self) -> float | None:
        """Seconds after which the last validation takes no further case; None for a budget in steps."""
        return None if self.seconds is None else RESERVED * VALIDATING * self.seconds

    def may_validate(self, progress: float, spent: float, case_seconds: float) -> bool:
        """Return whether there is time for a validation before the last one.

        ``spent`` are the seconds of all validations so far, ``case_seconds`` those of one case.
        """
        if self.seconds is None:
            return True
        return spent <= VALIDATING * self.seconds * progress and case_seconds <= VALIDATING * self.seconds

    def can_choose_overlap(self, case_seconds: float) -> bool:
        """Return whether there is time to validate one case with a larger overlap, given the seconds with the usual."""
        return self.validation_seconds is None or LARGER_OVERLAP_WORK * case_seconds <= self.validation_seconds

    def can_overlap_in_last(self, case_seconds: float) -> bool:
        """Return whether windows of the last validation may overlap, given the seconds of one case if they do."""
        return self.seconds is None or case_seconds <= LARGEST_CASE * self.seconds

    def keep_time_for_last(self, seconds: float, case_seconds: float) -> None:
        """Keep time for the last validation, given the seconds of all cases and of one."""
        if self.seconds is not None and case_seconds:
            share, case = VALIDATING * self.seconds, min(case_seconds, LARGEST_CASE * self.seconds)
            seconds = min(seconds, case * (share // case + 1))  # the case that passes the share is finished
        self.reserve = RESERVED * seconds
        if self.can_choose_overlap(case_seconds):
            self.reserve += self.validation_seconds or 0.0

    def seconds_left(self, step: int) -> float:
        """Return the expected seconds to the end, at the speed since the training began or was resumed."""
        if self.steps is None:
            return max((self.seconds or 0.0) - self.elapsed, 0.0)
        done = step - self.steps_before
        return (self.elapsed - self.elapsed_before) * (self.steps - step) / done if done > 0 else math.inf


def learning_rate_factor(progress: float, warmup: float, falling: float = FALLING) -> float:
    """Return the share of the full learning rate: a linear rise, then 1, then a linear fall over the share ``falling``.

    Bergsma et al., "Straight to Zero: Why Linearly Decaying the Learning Rate to Zero Works Best for LLMs" (ICLR 2025,
    arXiv:2502.15938), found long falls better than short ones in language models.
    """
    rise = progress / warmup if warmup else 1.0
    return max(min(rise, 1.0, (1 - progress) / falling), LOWEST_RATE)
