"""Check the attention of other packages before a training, at its places and with the sizes that it will see."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from attention_unet.attention import Attention
from attention_unet.attention.base import check_contract
from attention_unet.network import UNet
from attention_unet.preparation.plan import Plan

PACKAGE = "attention_unet."


def check_added_attention(network: UNet, plan: Plan) -> None:
    """Raise ValueError if a mechanism of another package fails, or breaks ``check_contract``, on random numbers."""
    unchecked: dict[nn.Module, str] = {
        part: f"{place}, {type(part).__name__}"
        for place, attention in network.attentions().items()
        for part in attention.modules()
        if isinstance(part, Attention) and not type(part).__module__.startswith(PACKAGE)
    }

    def check(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not (place := unchecked.pop(part, "")):  # checked at another place, or called by the check itself
            return
        x, gate = (*inputs, None)[:2]
        try:
            check_contract(cast(Attention, part), x, gate)
        except Exception as error:  # whatever goes wrong in the other package
            raise ValueError(f"{place}, for an input of {tuple(x.shape)}: {error}") from error

    hooks = [part.register_forward_pre_hook(check) for part in unchecked]
    if not hooks:
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        image: Tensor = torch.randn(1, len(plan.channels), *plan.window)
        network.eval()(image)
        network.train()
    for hook in hooks:
        hook.remove()
