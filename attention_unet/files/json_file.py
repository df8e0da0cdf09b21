"""Write JSON files, and read them strictly: what a lenient parser would ignore is an error that names the file."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attention_unet.errors import DataError
from attention_unet.files.atomic import write_text
from attention_unet.files.broken_link import describe_unreadable

T = TypeVar("T")


def parse_object(path: Path, build: Callable[[dict[str, Any]], T], advice: str) -> T:
    """Read a JSON object and build a value from it. ``advice`` ends the error message: what to do.

    Raise DataError if the file cannot be read, is not strict JSON, or lacks what ``build`` needs.
    """
    plain = read_object(path)
    try:
        return build(plain)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
        raise DataError(f"{path}: {problem}: {advice}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raise DataError as ``read_json``, and if the file holds another value."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: not a JSON object: expected {{...}}; repair the file")
    return value


def read_json(path: Path) -> Any:
    """Read JSON. Raise DataError if it is unreadable or not JSON, has a key twice, or a number that is not finite."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=_refuse_repeated_keys, parse_constant=_finite, parse_float=_finite)
    except OSError as error:
        raise DataError(f"{path}: {describe_unreadable(path, error, 'check the path and your rights')}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not readable JSON ({error}): repair it") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all.

    Raise DataError if the file cannot be written, ValueError for a number that is not finite: ``read_json`` refuses it.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _refuse_repeated_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} appears twice")
    return plain


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number
