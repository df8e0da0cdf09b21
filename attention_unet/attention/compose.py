"""Mechanisms made of mechanisms."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Kind


class Sequential(Attention):
    """One mechanism after another; each looks at what the one before let pass.

    The weights returned are the product of the parts' weights: what was applied to the input, as long as every part
    multiplies.
    """

    kind: ClassVar[Kind] = "mixed"

    def __init__(self, parts: Sequence[Attention]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Apply the parts in order to ``x`` (B, C, *S); each receives ``gate``."""
        weights: Tensor | None = None
        for part in self.parts:
            x, applied = part(x, gate)
            if applied is not None:
                weights = applied if weights is None else weights * applied
        return Attended(x, weights)
