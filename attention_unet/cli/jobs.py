"""Run a command in several processes at once, as ``--jobs`` asks for."""

from collections.abc import Iterable

from jsonargparse import Namespace

from attention_unet.errors import ConfigError


def wants_jobs(options: Namespace, others: Iterable[str] = ()) -> bool:
    """Return whether a call wants several processes.

    Args:
        options: of the call.
        others: options of this call that exclude ``--jobs``.

    Raises:
        ConfigError: if it wants less than one, or another option excludes them.
    """
    if options.jobs < 1:
        raise ConfigError(f"--jobs is {options.jobs}: expected 1 or more")
    if options.jobs > 1 and (excluding := list(others)):
        raise ConfigError(f"--jobs and {excluding[0]}: expected one of them")
    return bool(options.jobs > 1)
