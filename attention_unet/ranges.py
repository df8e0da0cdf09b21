"""Values that the fields of a configuration allow: their types and ranges, which stand beside each field."""

import math
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin


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


NAMES = {int: "a whole number (int)", float: "a number (float)", str: "a text", bool: "true or false", NoneType: "null"}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type, as it would come from a file: no bool or numpy number for an ``int``.

    A whole number fits ``float``.
    """
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if kind in (list, tuple):
        return type(value) is kind and all(fits(each, parts[0]) for each in value)
    if kind is Literal:
        return type(value) in map(type, parts) and value in parts
    if hint in NAMES:
        return type(value) is hint or (hint is float and type(value) is int)
    return hint is Any or isinstance(value, kind or hint)


def in_words(hint: Any) -> str:
    """Return a type in words."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(in_words(part) for part in parts if part is not NoneType)
    if kind in (list, tuple):
        return f"a {kind.__name__}, each {in_words(parts[0])}"
    if kind is Literal:
        return " or ".join(map(str, parts))
    return "anything" if hint is Any else NAMES.get(hint) or str(getattr(hint, "__name__", hint))


def ranged(default: Any, **limits: float) -> Any:
    """Return a dataclass field with a default and the range of its values."""
    value = {"default_factory": lambda: list(default)} if isinstance(default, list) else {"default": default}
    return field(**value, metadata={"range": Range(**limits)})  # type: ignore[arg-type]
