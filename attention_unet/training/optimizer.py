"""The optimiser: Muon for the weights of convolutions, AdamW for all other parameters.

What it gains: docs/experiments.md, 2026-11-28.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from attention_unet.attention import Attention
from attention_unet.config import TrainingConfig

MOMENTUM = 0.95
DECAY_OF_ADAM = 1 / 20  # of the weight decay of Muon; docs/experiments.md, 2026-11-29
LIKE_ADAM = 0.2  # root of the mean square of AdamW's steps, roughly; Liu et al. 2025, arXiv:2502.16982
POLYNOMIAL = 3.4445, -4.775, 2.0315  # of Jordan et al. 2024; five times bring singular values of 0.01 to 1 near 1
ITERATIONS = 5
NOT_DECAYED = ("bias", "temperature", "fading")  # ends of names of parameters; those of one axis are not decayed either


class MuonAndAdamW(Optimizer):
    """Muon for the weights of convolutions outside of attention and heads, AdamW for the rest.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the singular values of each step alike,
    so that rare directions of a weight are learned as fast as frequent ones. ``torch.optim.Muon`` takes matrices only,
    and computes in bfloat16, which many processors emulate. ``config`` gives the learning rate of both, and Muon's
    weight decay.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        weights, decayed, kept = split_parameters(network)
        decay = config.weight_decay * DECAY_OF_ADAM
        self._adam = AdamW(
            [{"params": decayed, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}],
            lr=config.learning_rate,
            fused=True,
        )
        super().__init__([{"params": weights, "weight_decay": config.weight_decay}], {"lr": config.learning_rate})
        self.param_groups += self._adam.param_groups
        self._adam.state = self.state

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change the parameters that have a gradient."""
        group = self.param_groups[0]
        for weight in group["params"]:
            if weight.grad is not None:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                mean = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                change = orthogonal(weight.grad.lerp(mean, MOMENTUM).flatten(1))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(change.view_as(weight), alpha=-group["lr"] * LIKE_ADAM * max(change.shape) ** 0.5)
        self._adam.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state. Raise ValueError if it is of another network or optimiser."""
        super().load_state_dict(state_dict)
        self._adam.state, self._adam.param_groups = self.state, self.param_groups[1:]


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of another, and singular values near 1.

    Odd polynomials are applied to the singular values (Newton-Schulz). This is done to the small square matrix of
    products of rows, or of columns if they are fewer, so that the large matrix is multiplied only twice.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    rows = (matrix.mT if tall else matrix) / matrix.norm().clamp(min=1e-7)
    products = rows @ rows.mT
    total = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    a, b, c = POLYNOMIAL
    for _ in range(ITERATIONS):
        factor = torch.addmm(b * products, products, products, alpha=c)
        factor.diagonal().add_(a)
        total, products = factor @ total, factor @ products @ factor
    result: Tensor = total @ rows
    return result.mT if tall else result


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights for Muon, and the parameters for AdamW with and without weight decay.

    Without it are biases, scales, temperatures and rates: decay would close gates that a bias keeps open, pull scales
    away from the identity, and make all rates the same.
    """
    of_attention = {id(p) for each in network.modules() if isinstance(each, Attention) for p in each.parameters()}
    weights: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.dim() <= 1 or name.endswith(NOT_DECAYED):
            kept.append(parameter)
        elif id(parameter) in of_attention or name.startswith("heads"):
            decayed.append(parameter)
        else:
            weights.append(parameter)
    return weights, decayed, kept
