"""The contract of attention mechanisms: features in; features of the same shape and the applied weights out."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from torch import Tensor, nn

# "open": the mechanism starts as the identity or near it, so that no skip is closed before training has learned what
# to suppress. Those that add their input start above the identity. "paper": as published, mostly without opening bias.
Init = Literal["open", "paper"]

OPEN_BIAS = 3.0  # sigmoid(3) = 0.95
OPEN_STD = 0.01  # of the weights in front of an opening bias


class Attended(NamedTuple):
    """Features and weights that a mechanism returns.

    Attributes:
        features: attended features, in the shape of the input ``(B, C, *S)``.
        weights: applied weights, ``(B, C, 1, ...)``, ``(B, 1, *S)`` or ``(B, C, *S)``. A pairwise mechanism returns the
            attention that each key received, ``(B, 1, *Sk)`` on the grid of the keys: from all queries, or from evenly
            spaced ones of a large grid. There 1 is an equal share; the matrix of all pairs is never returned. None if
            nothing is weighted.
    """

    features: Tensor
    weights: Tensor | None


class Attention(nn.Module, ABC):
    """Base of all mechanisms. Weights are returned and never stored on the module, so that it stays re-entrant.

    Attributes:
        kind: kind of weights: "channel", "spatial", "mixed", "pairwise" or "geometric"; "identity" for none.
        needs_gate: whether the mechanism also uses the decoder's coarser signal.
        multiplies: whether the features are exactly the input times the weights.
        before_convolution: whether a block applies it before each convolution, not after the last normalisation.
    """

    kind: str
    needs_gate: bool = False
    multiplies: bool = True
    before_convolution: bool = False

    @abstractmethod
    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend to ``x`` of shape ``(B, C, *S)``, given the coarser signal ``gate`` of shape ``(B, Cg, *Sg)``."""


class Identity(Attention):
    """No attention: the control of every comparison, through the same code."""

    kind: str = "identity"
    multiplies = False

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Return ``x`` unchanged."""
        return Attended(x, None)


def broadcast_channels(values: Tensor, x: Tensor) -> Tensor:
    """Return values of channels (B, C) as ``(B, C, 1, ...)``, in the type of ``x``, ready to multiply it."""
    return values.to(x.dtype).reshape(values.shape + (1,) * (x.dim() - 2))


def open_up(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
    """Open a layer in front of a sigmoid: small weights, and a bias of ``OPEN_BIAS``."""
    nn.init.normal_(layer.weight, std=OPEN_STD)
    nn.init.constant_(layer.bias, OPEN_BIAS)  # type: ignore[arg-type]  # the bias exists


def gate_or_error(gate: Tensor | None, mechanism: str) -> Tensor:
    """Return the gating signal.

    Raises:
        ValueError: with the name of the mechanism, if there is no signal.
    """
    if gate is None:
        raise ValueError(f"{mechanism} needs the coarser decoder signal: call it as attention(x, gate)")
    return gate
