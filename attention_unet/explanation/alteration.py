"""What becomes of a prediction if attention is altered: whether a network needs its weights, and where they lie."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

import torch
from torch import nn

from attention_unet.attention import Attended, Attention
from attention_unet.network import UNet

# "removed": features pass as they are. "constant": every weight is the mean of all. "shuffled": weights change places.
Alteration = Literal["removed", "constant", "shuffled"]
ALTERATIONS: tuple[Alteration, ...] = get_args(Alteration)


def attentions_of(network: UNet) -> dict[int, Attention]:
    """The attention on the skip of each level that has one, and at the bottleneck, the coarsest level."""
    found = {level: network.attention_at(level) for level in range(len(network.encoder))}
    return {level: attention for level, attention in found.items() if attention.kind != "identity"}


def possible(network: UNet) -> tuple[Alteration, ...]:
    """Which alterations make sense: weights that do not simply multiply features can only be removed."""
    attentions = attentions_of(network).values()
    if not attentions:
        return ()
    return ALTERATIONS if all(attention.multiplies for attention in attentions) else ("removed",)


@contextmanager
def altered(network: UNet, how: Alteration, seed: int = 0) -> Iterator[None]:
    """Alter all attention on skips and at the bottleneck while the block runs.

    Args:
        network: that predicts.
        how: one of those that are possible.
        seed: of the shuffling.
    """
    generator = torch.Generator().manual_seed(seed)
    with ExitStack() as stack:
        for attention in attentions_of(network).values():
            stack.enter_context(attention.register_forward_hook(_replacement(how, generator)))
        yield


def _replacement(how: Alteration, generator: torch.Generator) -> Callable[[nn.Module, Any, Attended], Attended]:
    def replace(attention: nn.Module, inputs: Any, attended: Attended) -> Attended:
        x, weights = inputs[0], attended.weights
        if how == "removed" or weights is None:
            return Attended(x, weights)
        flat = weights.flatten(1)
        if how == "constant":
            changed = flat.mean(dim=1, keepdim=True).repeat(1, flat.shape[1])
        else:
            changed = flat[:, torch.randperm(flat.shape[1], generator=generator).to(flat.device)]
        changed = changed.view_as(weights)
        return Attended(x * changed, changed)

    return replace
