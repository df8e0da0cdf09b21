"""Wrapper that applies several mechanisms to the same features and combines their results."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention
from attention_unet.attention.wrappers.sequential import take_properties

Combine = Literal["max", "add", "mean", "product"]


class Parallel(Attention):
    """Combination of the features that each mechanism makes of the same input.

    If all parts multiply, the returned weights are the factor of the input. If not, they are the first map of a part.

    Args:
        parts: at least one mechanism.
        combine: "max" takes the larger feature, "add" the sum and "mean" the mean. "product" multiplies the weights,
            and needs parts that all multiply.
    """

    def __init__(self, parts: Sequence[Attention], *, combine: Combine = "max") -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.combine = combine
        take_properties(self, parts)
        if combine == "max" and len(parts) > 1:
            self.kind = "mixed"  # which product is the larger depends on the sign of each feature
        if combine == "product" and not self.multiplies:
            name = next(type(part).__name__ for part in parts if not part.multiplies)
            raise ValueError(
                f"combine is 'product', but {name} does not multiply its input by weights: choose max, add or mean"
            )

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Apply all parts to ``x`` (B, C, *S); each receives ``gate``."""
        features, joined = self.parts[0](x, gate, with_map)
        for part in list(self.parts)[1:]:
            other, weights = part(x, gate, with_map)
            if not self.multiplies:
                features = self._join(features, other)
                joined = weights if joined is None else joined
            elif self.combine == "max":
                # For a negative feature the smaller weight gives the larger product.
                joined = torch.where((weights > joined) == (x >= 0), weights, joined)
            else:
                joined = self._join(joined, weights)
        scale = 1 / len(self.parts) if self.combine == "mean" else 1.0
        if self.multiplies:
            joined = joined * scale
            return Attended(x * joined, joined)
        return Attended(features * scale, joined)

    def _join(self, first: Tensor, second: Tensor) -> Tensor:
        if self.combine == "max":
            return torch.maximum(first, second)
        return first * second if self.combine == "product" else first + second
