"""What a study claims before its first training."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Hypothesis:
    """A claim about two arms.

    Attributes:
        arm: the arm that the claim is about.
        against: the arm it is compared with.
        expect: "better", or "equivalent" within the margin.
    """

    arm: str
    against: str
    expect: Literal["better", "equivalent"]
