"""Configure a training that starts from a model: its network is that of the model."""

import dataclasses
import json
from typing import Any

from attention_unet.config import AttentionConfig, Config, NetworkConfig
from attention_unet.errors import ConfigError
from attention_unet.preparation.plan import Plan


def configure_like(config: Config, model: Plan) -> Config:
    """Return a configuration with the network, the attention and, if it is left open, the voxel size of a model.

    Raise ConfigError if a field is neither at its default nor as in the model.
    """
    architecture = dataclasses.asdict(model.architecture)
    channels = architecture["channels"]
    architecture |= {
        "base_channels": channels[0],
        "max_channels": max(config.network.max_channels, max(channels)),
        "max_levels": max(config.network.max_levels, len(channels)),
    }
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, spacing_mm=config.data.spacing_mm or list(model.preprocessing.spacing_mm)
        ),
        network=NetworkConfig(**_fields_of("network", config.network, architecture)),
        attention=AttentionConfig(**_fields_of("attention", config.attention, architecture)),
    )


def _fields_of(section: str, given: NetworkConfig | AttentionConfig, architecture: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a section, with the values of an architecture."""
    fields = {}
    for field in dataclasses.fields(given):
        value, of_model = getattr(given, field.name), architecture[field.name]
        if value != field.default and _plain(value) != _plain(of_model):
            raise ConfigError(
                f"{section}.{field.name} is {value}: the model of training.start_from has {of_model}: leave the field "
                "out, or train without training.start_from"
            )
        fields[field.name] = of_model
    return fields


def _plain(value: object) -> object:
    """Return a value as JSON holds it: levels are then texts, and sequences lists."""
    return json.loads(json.dumps(value))
