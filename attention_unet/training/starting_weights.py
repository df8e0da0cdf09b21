"""Start a training from the weights of a trained model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attention_unet.config import Config
from attention_unet.errors import first_few
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.inference.trained_on import TrainedOn, find_in_training
from attention_unet.network import AttentionUNet
from attention_unet.network.blocks import ConvNorm
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import Labels

ON_CHANNELS = ("inputs.", "encoder.0.body.0.attention.")  # starts of names of weights for channels of the image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """The model that a training started from."""

    model: str  # its name, without folders of this machine
    sha256: str  # of its weights and description
    trained_on: TrainedOn | None  # None if unknown

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        known = self.trained_on.to_json() if self.trained_on else None
        return {"model": self.model, "sha256": self.sha256, "trained_on": known}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Origin":
        """Return the inverse of ``to_json``."""
        known = plain["trained_on"]
        return cls(str(plain["model"]), str(plain["sha256"]), TrainedOn.from_json(known) if known else None)


def load_start(config: Config) -> Model | None:
    """Return the model that a training starts from, as ``load_model``; None for new weights."""
    return load_model(config.training.start_from) if config.training.start_from else None


def starting_plan(config: Config) -> Plan | None:
    """Return the plan of the model that ``load_start`` returns; None for new weights."""
    start = load_start(config)
    return start.plan if start else None


def take_weights(network: AttentionUNet, plan: Plan, start: Model) -> None:
    """Give a network the weights of a model, as far as they fit, and log how many of each part were taken.

    The first layer takes its weights by the name of the channel. A channel of another name gets the mean of all; if no
    name is the same and there are as many channels, they are taken in order. The layers that decide on classes take
    the weights of classes with the same name. What does not fit keeps its new weights.
    Both architectures are the same except for numbers of channels and classes.
    """
    channels = match_channels(start.plan.channels, plan.channels)
    classes = match_classes(start.plan.labels, plan.labels)
    in_order = channels == [[index] for index in range(len(start.plan.channels))]
    first_layers = _first_layers(network)
    weights, of_model = network.state_dict(), start.network.state_dict()
    taken: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for name, new in weights.items():
        part, old = name.split(".")[0], of_model.get(name)
        total[part] += new.numel()
        if old is None:
            continue
        if name.startswith("heads.") or ".classify." in name:  # a row for each class
            for row, source in classes.items():
                new[row] = old[source].to(new)
                taken[part] += new[row].numel()
        elif name in first_layers:
            mixed = [old[:, sources].mean(dim=1) for sources in channels]
            weights[name] = torch.stack(mixed, dim=1)
            taken[part] += new.numel()
        elif old.shape == new.shape and (in_order or not name.startswith(ON_CHANNELS)):
            weights[name] = old
            taken[part] += new.numel()
    network.load_state_dict(weights)
    for part, count in total.items():
        log.info("%-10s %11s of %11s weights taken", part, f"{taken[part]:,}", f"{count:,}")
    _log_channels_and_classes(start.plan, plan, channels)


def match_channels(old: Sequence[str], new: Sequence[str]) -> list[list[int]]:
    """Return, for each new channel, the old channels whose mean it starts from."""
    if not set(old) & set(new) and len(old) == len(new):
        return [[index] for index in range(len(old))]
    return [[old.index(name)] if name in old else list(range(len(old))) for name in new]


def match_classes(old: Labels, new: Labels) -> dict[int, int]:
    """Return the old logit by each new logit of the same class.

    Empty if no class has the name of an old one, or if classes overlap in only one of both.
    """
    if old.overlapping != new.overlapping or not set(old.names) & set(new.names):
        return {}
    background = [] if new.overlapping else [""]
    before = [*background, *old.names]
    return {row: before.index(name) for row, name in enumerate([*background, *new.names]) if name in before}


def _first_layers(network: AttentionUNet) -> set[str]:
    """Return the names of the weights by which the image is convolved."""
    block = network.encoder[0]
    layers = {name: layer for name, layer in block.named_modules() if isinstance(layer, ConvNorm)}
    first = next(name for name in layers if name.startswith("body."))
    return {f"encoder.0.{name}.0.weight" for name in layers if name in (first, "shortcut")}


def _log_channels_and_classes(old: Plan, new: Plan, channels: Sequence[Sequence[int]]) -> None:
    """Log which channels and classes start from others than those of the same name."""
    for name, sources in zip(new.channels, channels, strict=True):
        names = [old.channels[source] for source in sources]
        if names != [name]:
            log.info("channel %s starts %s %s", name, "as" if len(names) == 1 else "as the mean of", ", ".join(names))
    known = match_classes(old.labels, new.labels)
    background = 0 if new.labels.overlapping else 1
    if fresh := [name for row, name in enumerate(new.labels.names, start=background) if row not in known]:
        log.info("new classes: %s", first_few(fresh))


def warn_of_trained_on(origin: Origin, held_out: Sequence[str], digests: Mapping[str, str]) -> None:
    """Warn of held-out cases that the model to start from was trained on: their scores will be too good."""
    found = {case: find_in_training([origin.trained_on], case, digests[case]) for case in held_out}
    texts = {
        "image": "are training cases of %s, where this training starts: their scores will be too good",
        "name": "have the id of a training case of %s, but another image",
    }
    for match, text in texts.items():
        if known := [case for case, kind in found.items() if kind == match]:
            log.warning(
                f"%d of %d held-out cases {text}: %s", len(known), len(held_out), origin.model, first_few(known)
            )
    if "unknown" in found.values():
        log.warning("%s does not say which cases it was trained on: held-out cases may be among them", origin.model)
