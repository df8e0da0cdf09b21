"""The mistakes a user can mend. The command line prints them as one line and never as a traceback."""

from collections.abc import Collection, Mapping
from pathlib import Path

MAX_NAMES = 5  # of many


def first_few(names: Collection[str]) -> str:
    """The first of many names, and how many more there are."""
    named = ", ".join(sorted(names)[:MAX_NAMES])
    return named if len(names) <= MAX_NAMES else f"{named} and {len(names) - MAX_NAMES} more"


def plural(number: int, noun: str) -> str:
    """Such as "1 case" and "2 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def replace_paths(text: str, names: Mapping[Path, str]) -> str:
    """A message with other names of files, such as without the folders of this machine: for what may be passed on."""
    for path, name in names.items():
        text = text.replace(str(path), name)
    return text


class UserError(Exception):
    """Says which file or field, what was found, what was expected and what to do next."""

    exit_code = 1


class ConfigError(UserError):
    """The call or the configuration is wrong, or names what is not there."""

    exit_code = 2


class DataError(UserError):
    """A file of images, labels or predictions is not what it should be, or cannot be written."""


class ModelError(UserError):
    """A run folder or a model file is not there, or not what it should be."""

    exit_code = 2
