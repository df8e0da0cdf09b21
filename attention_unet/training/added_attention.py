"""Check the attention of other packages before a training, at its places and with the sizes that it will see."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from attention_unet.attention import Attention
from attention_unet.attention.base import check_contract
from attention_unet.network import AttentionUNet, UNet
from attention_unet.preparation.plan import Plan

PACKAGE = "attention_unet."


def check_added_attention(network: UNet, plan: Plan) -> None:
    """Raise ValueError if a mechanism of another package fails on random numbers, or does not do what it should.

    It should keep ``check_contract``, and return the same features after its weights are saved and loaded.
    """
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
            if not torch.allclose(part(x, gate).features, loaded[part](x, gate).features, rtol=1e-3, atol=1e-4):
                raise ValueError(
                    "after saving and loading it returns other features: what its constructor draws at random must be "
                    "a parameter or a persistent buffer"
                )
        except Exception as error:  # whatever goes wrong in the other package
            raise ValueError(f"{place}, for an input of {tuple(x.shape)}: {error}") from error

    hooks = [part.register_forward_pre_hook(check) for part in unchecked]
    if not hooks:
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        image: Tensor = torch.randn(1, len(plan.channels), *plan.window)
        again = AttentionUNet(plan.architecture).eval()  # built with other random numbers
        again.load_state_dict(network.state_dict())
        loaded = dict(zip(network.modules(), again.modules(), strict=True))
        network.eval()(image)
        network.train()
    for hook in hooks:
        hook.remove()
