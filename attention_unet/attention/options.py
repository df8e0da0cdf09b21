"""The options of a mechanism: the keywords of its constructor, with their types and defaults."""

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Value = int | float | str | bool | None


@dataclass(frozen=True)
class Option:
    """One option."""

    name: str  # its name
    default: Value  # its default; None if the mechanism decides
    kind: type  # type of its values: bool, int, float or str
    choices: tuple[str, ...]  # words that it may be; empty for numbers

    @property
    def expected(self) -> str:
        """What a value may be, in words."""
        if self.choices:
            return ", ".join(self.choices[:-1]) + " or " + self.choices[-1]
        texts = {bool: "true or false", int: "a whole number, at least 1", float: "a number above 0"}
        return texts[self.kind] + (", or null for the mechanism's own rule" if self.default is None else "")

    def check(self, value: object) -> Value:
        """Return a value in the option's type. Raise ValueError if it is of another type, or out of range."""
        if value is None and self.default is None:
            return None
        if self.choices:
            right = value in self.choices
        elif self.kind is bool or isinstance(value, bool):
            right = self.kind is bool and isinstance(value, bool)
        else:
            right = isinstance(value, (int, float) if self.kind is float else int) and value > 0
        if not right:
            raise ValueError(f"{self.name} is {value!r}: expected {self.expected}")
        return self.kind(value)


def options_of(mechanism: type) -> dict[str, Option]:
    """Return the options of a class by name: the keyword-only parameters of its constructor.

    Raise TypeError if an option has no default, or a type that no configuration can hold.
    """
    hints = get_type_hints(mechanism.__init__)  # type: ignore[misc]  # only read
    found = {}
    for name, parameter in inspect.signature(mechanism.__init__).parameters.items():  # type: ignore[misc]
        if parameter.kind is parameter.KEYWORD_ONLY:
            found[name] = _option(mechanism, name, hints.get(name), parameter.default)
    return found


def check_options(mechanism: type, name: str, values: Mapping[str, object]) -> dict[str, Any]:
    """Return checked options by name for the constructor of a mechanism, which messages call ``name``.

    Raise ValueError if there is no such option, or a value does not fit.
    """
    options = options_of(mechanism)
    unknown = [key for key in values if key not in options]
    if unknown:
        known = f"expected {', '.join(options)}" if options else "it has none"
        raise ValueError(f"{name} has no option {', '.join(map(repr, unknown))}: {known}")
    try:
        return {key: options[key].check(value) for key, value in values.items()}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _option(mechanism: type, name: str, hint: Any, default: Any) -> Option:
    parts = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    kinds = [part for part in parts if part is not type(None)]
    if len(kinds) == 1 and default is not inspect.Parameter.empty:
        if get_origin(kinds[0]) is Literal and all(isinstance(word, str) for word in get_args(kinds[0])):
            return Option(name, default, str, get_args(kinds[0]))
        if kinds[0] in (bool, int, float):
            return Option(name, default, kinds[0], ())
    raise TypeError(
        f"{mechanism.__name__}: option {name} is {hint!r}: expected bool, int, float or a Literal of words, and a "
        "default"
    )
