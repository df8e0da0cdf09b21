"""The contract every attention mechanism keeps: features in, features of the same shape and the weights applied out."""

from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

Kind = Literal["identity", "channel", "spatial", "mixed", "pairwise", "geometric"]


class Attended(NamedTuple):
    """What a mechanism returns.

    features: the weighted features, always of the shape of the input ``(B, C, *S)``.
    weights: as applied, ``(B, C, 1, ...)``, ``(B, 1, *S)`` or ``(B, C, *S)``; None where nothing is weighted.
    """

    features: Tensor
    weights: Tensor | None


class Attention(nn.Module):
    """Base of all mechanisms. Weights are returned, never kept on the module, so that it stays re-entrant.

    kind: what is weighted.
    needs_gate: whether the mechanism also looks at the decoder's coarser signal.
    """

    kind: ClassVar[Kind]
    needs_gate: ClassVar[bool] = False

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` of shape ``(B, C, *S)``, given the coarser signal ``gate`` of shape ``(B, Cg, *Sg)``."""
        raise NotImplementedError


class Identity(Attention):
    """No attention: the control that every comparison needs, through the same code path."""

    kind: ClassVar[Kind] = "identity"

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Return ``x`` as it is."""
        return Attended(x, None)
