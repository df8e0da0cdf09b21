"""Several mechanisms look at the same features; what they let pass is joined."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention
from attention_unet.attention.wrappers.sequential import common_kind

Combine = Literal["max", "add", "mean", "product"]


class Parallel(Attention):
    """Join the features that each mechanism makes of the same input.

    With "max" and ``se`` and ``sse`` it is scSE (Roy, Navab, Wachinger, MICCAI 2018). The weights returned are what the
    input was multiplied by, if all parts multiply; the map of the first otherwise.

    Args:
        parts: at least one mechanism.
        combine: "max" takes the larger feature, "add" and "mean" the sum and the mean, "product" multiplies the
            weights, which needs parts that all multiply.

    Raises:
        ValueError: if ``combine`` is none of these or does not fit the parts.
    """

    def __init__(self, parts: Sequence[Attention], combine: Combine = "max") -> None:
        super().__init__()
        if combine not in get_args(Combine):
            raise ValueError(f"parallel mechanisms combine by {', '.join(get_args(Combine))}, not {combine!r}")
        self.parts = nn.ModuleList(parts)
        self.combine = combine
        # The larger of several products hangs on the sign of each feature.
        self.kind = "mixed" if combine == "max" and len(parts) > 1 else common_kind(parts)
        self.needs_gate = any(part.needs_gate for part in parts)
        self.multiplies = all(part.multiplies for part in parts)
        if combine == "product" and not self.multiplies:
            names = [type(part).__name__ for part in parts if not part.multiplies]
            raise ValueError(f"only weights have a product: {', '.join(names)} does not multiply its input")

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Apply all parts to ``x`` (B, C, *S); each receives ``gate``."""
        features, joined = self.parts[0](x, gate)
        for part in list(self.parts)[1:]:
            more, weights = part(x, gate)
            if not self.multiplies:
                features = self._join(features, more)
                joined = weights if joined is None else joined
            elif self.combine == "max":
                # The larger of two products by a negative feature is that of the smaller weight.
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
