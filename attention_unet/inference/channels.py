"""Select the channels of a scan that a model takes, and check which may be missing."""

import os
import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.inference.settings import Settings
from attention_unet.preparation.plan import Plan
from attention_unet.scans.volumes import Volume

if TYPE_CHECKING:
    from attention_unet.inference.model import Model


def select_channels(volume: Volume, plan: Plan, settings: Settings) -> Volume:
    """Return a volume with the channels of a plan, 0 for missing ones. Raise DataError if it has other channels."""
    if settings.channel is not None:
        volume = volume.select_channel(settings.channel)
    missing = sorted({plan.channels.index(name) for name in settings.missing})
    if missing and len(volume.array) == len(plan.channels) - len(missing):
        return volume.with_empty_channels(missing)
    if len(volume.array) != len(plan.channels):
        advice = "; name those that it lacks: --missing, or Settings(missing=...)" if plan.channels_may_miss else ""
        if len(plan.channels) == 1:
            advice = "; take one of them: --channel, or Settings(channel=...)"
        of_array = "" if os.path.exists(volume.path) else "; of an array, channels are the first axis"
        raise DataError(
            f"{volume.path}: has {plural(len(volume.array), 'channel')}: the model was trained on {len(plan.channels)} "
            f"({', '.join(plan.channels)}){advice}{of_array}"
        )
    return volume.without_channels(missing) if missing else volume


def comparable(names: Sequence[str]) -> list[str]:
    """Return names of channels in small letters and without the w of BIDS: T1w is t1."""
    return [name.casefold().removesuffix("w") for name in names]


def are_swapped(names: Sequence[str], channels: Sequence[str]) -> bool:
    """Return whether one of as many names is that of a channel in another place."""
    found, expected = comparable(names), comparable(channels)
    return any(name != channel and name in expected for name, channel in zip(found, expected, strict=True))


def warn_of_absent(case: Case, channels: Sequence[str]) -> None:
    """Warn of channels without a file."""
    if case.absent:
        names = ", ".join(channels[number] for number in case.absent)
        warnings.warn(f"{case.images[0]}: there is no file of {names}: predicted without", stacklevel=2)


def check_missing(models: Sequence["Model"], missing: Collection[str]) -> None:
    """Raise ConfigError if models cannot predict without some channels."""
    channels = models[0].plan.channels
    if unknown := set(missing) - set(channels):
        raise ConfigError(
            f"--missing is {first_few(unknown)}: expected one of the channels {', '.join(channels)}; repeat the option "
            "for several"
        )
    if missing and not all(model.plan.channels_may_miss for model in models):
        raise ConfigError(
            f"{first_few(missing)}: missing, but the model was trained with all channels: train with "
            "augmentation.drop_channel, or predict with all of them"
        )
    if set(channels) == set(missing):
        raise ConfigError(f"all channels are missing ({', '.join(channels)}): expected at least one of them")
