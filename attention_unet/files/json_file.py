"""JSON files, read strictly: what a parser would pass over in silence is an error that names the file."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from attention_unet.errors import DataError


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: as ``read_json``, and if the file holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no JSON object: expected one, {{...}}")
    return found


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: if the file cannot be read, is not JSON, or holds a key twice or a number that is not finite.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse, parse_float=_finite)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the path and your rights") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not readable JSON ({error}): repair it") from error


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
