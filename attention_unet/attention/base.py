"""The contract every attention mechanism keeps: features in, features of the same shape and the weights applied out."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from torch import Tensor, nn

# "open": the mechanism starts as the identity or near it (those that add start above it), so that no skip is closed
# before training has learned what to suppress. "paper": as published, which for most also drops the opening bias.
Init = Literal["open", "paper"]

OPEN_BIAS = 3.0  # sigmoid(3) = 0.95
OPEN_STD = 0.01  # of the weights in front of an opening bias


class Attended(NamedTuple):
    """What a mechanism returns.

    features: the attended features, always of the shape of the input ``(B, C, *S)``.
    weights: as applied, ``(B, C, 1, ...)``, ``(B, 1, *S)`` or ``(B, C, *S)``. A pairwise mechanism gives the attention
        each key received from all queries, ``(B, 1, *Sk)`` on the grid of the keys, 1 being an equal share; never the
        matrix of all pairs. None where nothing is weighted.
    """

    features: Tensor
    weights: Tensor | None


class Attention(nn.Module, ABC):
    """Base of all mechanisms. Weights are returned, never kept on the module, so that it stays re-entrant.

    kind: what is weighted: "channel", "spatial", "mixed", "pairwise" or "geometric"; "identity" for nothing.
    needs_gate: whether the mechanism also looks at the decoder's coarser signal.
    multiplies: whether the features are the input times the weights, and nothing else.
    before_convolution: whether its place in a block is before each convolution, not after the last normalisation.
    """

    kind: str
    needs_gate: bool = False
    multiplies: bool = True
    before_convolution: bool = False

    @abstractmethod
    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend to ``x`` of shape ``(B, C, *S)``, given the coarser signal ``gate`` of shape ``(B, Cg, *Sg)``."""


class Identity(Attention):
    """No attention: the control that every comparison needs, through the same code path."""

    kind: str = "identity"
    multiplies = False

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Return ``x`` as it is."""
        return Attended(x, None)


def over_grid(values: Tensor, x: Tensor) -> Tensor:
    """Values of channels (B, C) as ``(B, C, 1, ...)``, in the type of ``x`` and ready to multiply it."""
    return values.to(x.dtype).reshape(values.shape + (1,) * (x.dim() - 2))


def open_up(layer: nn.Module) -> None:
    """Let a layer in front of a sigmoid start open: small weights, and a bias of ``OPEN_BIAS``."""
    if not (isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor)):
        raise TypeError(f"{layer} has no weight and bias to open")
    nn.init.normal_(layer.weight, std=OPEN_STD)
    nn.init.constant_(layer.bias, OPEN_BIAS)


def gate_or_error(gate: Tensor | None, mechanism: str) -> Tensor:
    """The gating signal.

    Raises:
        ValueError: naming the mechanism, if there is none.
    """
    if gate is None:
        raise ValueError(f"{mechanism} needs the coarser decoder signal: call it as attention(x, gate)")
    return gate
