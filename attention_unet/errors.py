"""Errors that the user can correct. The command line prints each as one line, without a traceback."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MAX_NAMES = 5  # in one message


def first_few(names: Collection[str]) -> str:
    """Return the first names in alphabetical order, and how many more there are."""
    text = ", ".join(sorted(names)[:MAX_NAMES])
    return text if len(names) <= MAX_NAMES else f"{text} and {len(names) - MAX_NAMES} more"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, for example "1 case" or "2 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def times(numbers: Iterable[float], form: str = "g") -> str:
    """Return numbers in a format, for example "40 x 56 x 40"."""
    return " x ".join(f"{number:{form}}" for number in numbers)


def replace_paths(text: str, names: Mapping[Path, str]) -> str:
    """Replace paths in a text by other names, so that it can be shared without the folders of this machine."""
    by_text = {str(path): name for path, name in names.items()}
    pattern = "|".join(map(re.escape, sorted(by_text, key=len, reverse=True)))  # a path may be part of another one
    return re.sub(pattern, lambda match: by_text[match[0]], text) if by_text else text


def raise_interruption(error: BaseException) -> None:
    """Raise the Ctrl-C or the end by a signal that led to an error: a file that it interrupts may fail to close."""
    cause = error.__context__
    while isinstance(cause, Exception):
        cause = cause.__context__
    if cause is not None:
        raise cause


class UserError(Exception):
    """Error whose message names the file or field, what was found, what was expected and what to do next."""

    exit_code = 1


class ConfigError(UserError):
    """Error in the call or the configuration, or a file or folder that they name is missing."""

    exit_code = 2


class DataError(UserError):
    """Error in a file of images, labels or predictions: missing, damaged, of a wrong kind, or not writable."""


class ModelError(UserError):
    """Error in a run folder or a model file: missing, damaged, or of a wrong kind."""

    exit_code = 2


@contextmanager
def noting_failure(failed: dict[str, str], case: str) -> Iterator[None]:
    """Put the reason of a DataError into ``failed``, by case, so that one case stops no other."""
    try:
        yield
    except DataError as error:
        failed[case] = str(error)
