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
        self.kind = common_kind(parts)
        self.needs_gate = any(part.needs_gate for part in parts)
        self.multiplies = all(part.multiplies for part in parts)
        if combine == "product" and not self.multiplies:
            names = [type(part).__name__ for part in parts if not part.multiplies]
            raise ValueError(f"only weights have a product: {', '.join(names)} does not multiply its input")

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Apply all parts to ``x`` (B, C, *S); each receives ``gate``."""
        results = [part(x, gate) for part in self.parts]
        features = [result.features for result in results]
        maps = [result.weights for result in results if result.weights is not None]
        if not self.multiplies:
            return Attended(self._join(features), maps[0] if maps else None)
        weights = [w.expand(-1, *_widest(maps)) for w in maps]
        if self.combine == "max":
            # The larger of two products by a negative feature is that of the smaller weight.
            stacked = torch.stack(weights)
            joined = torch.where(x >= 0, stacked.amax(dim=0), stacked.amin(dim=0))
        else:
            joined = self._join(weights)
        return Attended(x * joined, joined)

    def _join(self, values: list[Tensor]) -> Tensor:
        stacked = torch.stack(values)
        if self.combine == "max":
            return stacked.amax(dim=0)
        if self.combine == "product":
            return stacked.prod(dim=0)
        return stacked.sum(dim=0) if self.combine == "add" else stacked.mean(dim=0)


def _widest(maps: list[Tensor]) -> list[int]:
    """The shape without batch that all maps broadcast to."""
    return [max(sizes) for sizes in zip(*(m.shape[1:] for m in maps), strict=True)]
