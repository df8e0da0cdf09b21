"""What a study claims before its first training."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Hypothesis:
    """A claim about two arms."""

    arm: str  # the arm that the claim is about
    against: str  # the arm it is compared with
    expect: Literal["better", "equivalent"]  # equivalent: within the margin
