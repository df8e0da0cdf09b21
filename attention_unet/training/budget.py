"""How far a training is: in steps, or by the clock."""

import math
import time
from dataclasses import dataclass, field

from attention_unet.config import TrainingConfig


@dataclass
class Budget:
    """A training runs while its progress is below 1.

    A budget by the clock follows the clock, so that it is kept on any machine whatever else that does; its numbers are
    then not repeatable, those of a budget in steps are.

    Attributes:
        steps: budget in steps, or None.
        seconds: budget by the clock, or None.
        reserve: seconds to keep for the last validation.
        elapsed_before: seconds that a run took before it was resumed.
        steps_before: steps that it took before.
    """

    steps: int | None
    seconds: float | None
    reserve: float = 0.0
    elapsed_before: float = 0.0
    steps_before: int = 0
    started: float = field(default_factory=lambda: time.monotonic())

    @classmethod
    def of(cls, config: TrainingConfig, training_cases: int, batch: int) -> "Budget":
        """The budget a configuration asks for; 100 epochs if it names none."""
        if config.minutes is not None:
            return cls(None, config.minutes * 60)
        if config.steps is not None:
            return cls(config.steps, None)
        epochs = 100.0 if config.epochs is None else config.epochs
        return cls(max(math.ceil(epochs * training_cases / batch), 1), None)

    @property
    def elapsed(self) -> float:
        """Seconds since the training began, breaks left out."""
        return self.elapsed_before + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """0 at the start, 1 at the end."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        seconds = max((self.seconds or 0.0) - self.reserve, 1e-3)
        return min(self.elapsed / seconds, 1.0)

    def seconds_left(self, step: int) -> float:
        """Expected seconds to the end, at the speed since the training began or was resumed."""
        if self.steps is None:
            return max((self.seconds or 0.0) - self.elapsed, 0.0)
        taken = step - self.steps_before
        return (self.elapsed - self.elapsed_before) * (self.steps - step) / taken if taken > 0 else math.inf


def same_budget(one: TrainingConfig, other: TrainingConfig) -> bool:
    """Whether two configurations train as long, with as many validations."""
    names = ("minutes", "steps", "epochs", "validations")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Share of the highest learning rate: a straight rise over the warm-up, then all of it to the end.

    What a rate that falls to zero gives a short training, averaged weights give without it (Hägele et al. 2024,
    arXiv:2405.18392), and a long training learns the labels' noise by it: docs/experiments.md.
    """
    return 1.0 if progress >= warmup else max(progress / warmup, 0.01)
