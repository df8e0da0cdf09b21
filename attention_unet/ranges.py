"""Values that the fields of a configuration allow: ranges, kept beside each field, and the words of its type."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """Allowed values of a number, or of each number of a list.

    Attributes:
        least: lowest value, inclusive.
        most: highest value, inclusive.
        above: limit below, exclusive.
        below: limit above, exclusive.
        length: number of values of a list.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    length: int | None = None

    def contains(self, value: Any) -> bool:
        """Return whether a number or list of numbers is allowed. None and values that are not numbers always are."""
        numbers = value if isinstance(value, list) else [value]
        right = all(
            self.least <= n <= self.most and self.above < n < self.below for n in numbers if isinstance(n, int | float)
        )
        return right and (value is None or self.length in (None, len(numbers)))

    def __str__(self) -> str:
        """What is expected, in words."""
        count = f"{self.length} numbers, " if self.length else ""
        if self.above > -math.inf:
            return f"{count}more than {self.above:.10g}" + (
                f", at most {self.most:.10g}" if self.most < math.inf else ""
            )
        end = f" to {self.most:.10g}" if self.most < math.inf else f" to below {self.below:.10g}"
        return f"{count}{self.least:.10g}" + (end if min(self.most, self.below) < math.inf else " or more")


def choices(hint: Any) -> tuple[Any, ...]:
    """Return the values that a type allows, a ``Literal`` or a list of it; nothing for other types."""
    each = get_args(hint)[0] if get_origin(hint) is list else hint
    return get_args(each) if get_origin(each) is Literal else ()


def ranged(default: Any, **limits: float) -> Any:
    """Return a dataclass field with a default and the range of its values."""
    value = {"default_factory": lambda: list(default)} if isinstance(default, list) else {"default": default}
    return field(**value, metadata={"range": Range(**limits)})  # type: ignore[arg-type]
