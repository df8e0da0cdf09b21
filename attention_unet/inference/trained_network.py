"""A trained network with what its use needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from attention_unet.errors import ConfigError
from attention_unet.inference.components import Gains, pool_gains
from attention_unet.inference.settings import Settings
from attention_unet.network import UNet
from attention_unet.preparation.plan import Plan


@dataclass(frozen=True)
class TrainedNetwork:
    """A network ready to predict.

    Attributes:
        network: in evaluation mode, on the device.
        plan: preprocessing, patch and classes of its training.
        device: to compute on.
        component_gains: by class, what keeping only the largest connected component gained on held-out cases.
    """

    network: UNet
    plan: Plan
    device: torch.device
    component_gains: Gains = field(default_factory=dict)


def single_component_classes(models: Sequence[TrainedNetwork], settings: Settings) -> list[str]:
    """Return the classes that keep only their largest connected component: those that the settings name; by default,
    those that gained by it on the held-out cases of the models.

    Raises:
        ConfigError: if the settings name a class that the models do not have.
    """
    names = models[0].plan.labels.names
    if isinstance(settings.keep_largest, str) or set(settings.keep_largest or ()) - set(names):
        raise ConfigError(f"keep_largest is {settings.keep_largest!r}: expected some of the classes {', '.join(names)}")
    if settings.keep_largest is not None:
        return [name for name in names if name in settings.keep_largest]
    gains = pool_gains(model.component_gains for model in models)
    return [name for name in names if name in gains and gains[name].helps]
