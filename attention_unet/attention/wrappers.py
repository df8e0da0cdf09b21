"""Wrappers: mechanisms made of other mechanisms."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, apply_weights
from attention_unet.layers.dimensions import interpolate_to, pool_to

Combine = Literal["max", "add", "mean", "product"]


class Sequential(Attention):
    """Sequence of mechanisms: each attends to the result of the one before.

    The returned weights are the product of the weights of all parts that multiply. If all parts multiply, this is the
    factor of the input. If no part multiplies, the weights are the last map.

    Args:
        parts: at least one mechanism, in order.
    """

    def __init__(self, parts: Sequence[Attention]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        take_properties(self, parts)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Apply the parts in order to ``x`` (B, C, *S); each receives ``gate``."""
        product: Tensor | None = None
        last: Tensor | None = None
        for part in self.parts:
            x, weights = part(x, gate, with_map)
            if weights is not None:
                last = weights
                if part.multiplies:
                    product = weights if product is None else product * weights
        return Attended(x, last if product is None else product)


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


class Residual(Attention):
    """Residual form y = x + attention(x), which for weights M is (1 + M) * x.

    The form is that of Wang et al., "Residual Attention Network for Image Classification", CVPR 2017. A closed
    mechanism leaves x unchanged.
    """

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner
        take_properties(self, [inner])

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend to ``x`` (B, C, *S); the weights are 1 plus those of the mechanism, if it multiplies."""
        features, weights = self.inner(x, gate, with_map)
        if weights is not None and self.multiplies:
            weights = 1 + weights
        return Attended(x + features, weights)


class Recursive(Attention):
    """Recursion x_t+1 = attention(x_t, gate), T times with the same parameters; one step is the mechanism itself.

    The weights of T steps multiply, so that weights below 1 shrink the features. If the mechanism multiplies, the
    returned weights are the product of all steps, the factor of the input. If not, they are the map of the last step.
    ``steps`` returns the weights of each step.

    Args:
        times: number T, at least 1.
    """

    def __init__(self, inner: Attention, *, times: int = 3) -> None:
        super().__init__()
        self.inner, self.times = inner, times
        take_properties(self, [inner])

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend T times to ``x`` (B, C, *S); each step receives ``gate``."""
        steps = self.steps(x, gate, with_map)
        weights = steps[-1].weights
        if self.multiplies:
            for step in steps[:-1]:
                if weights is not None and step.weights is not None:
                    weights = weights * step.weights
        return Attended(steps[-1].features, weights)

    def steps(self, x: Tensor, gate: Tensor | None, with_map: bool) -> list[Attended]:
        """Return features and weights after each step."""
        results: list[Attended] = []
        for _ in range(self.times):
            results.append(self.inner(results[-1].features if results else x, gate, with_map))
        return results


class MultiScale(Attention):
    """Mixture over scales, y = x * sum_s pi_s up(M_s(down_s x)), with pi a softmax of one number per scale.

    Each scale has its own mechanism, which sees the features averaged over blocks of 1, 2, 4, ... voxels. Its weights
    are resampled linearly. The idea is common; Sinha and Dolz, "Multi-scale self-guided attention ...", 2020, has one
    such form. This plain form has no paper.

    Args:
        build_inner: builds the mechanism of a scale; it must multiply.
        scales: number of scales.
    """

    def __init__(self, build_inner: Callable[[], Attention], *, scales: int = 3) -> None:
        super().__init__()
        inners = [build_inner() for _ in range(scales)]
        if not inners[0].multiplies:
            raise ValueError(
                f"multiscale mixes weights, but {type(inners[0]).__name__} does not multiply its input by weights: "
                "choose a mechanism that does, such as gate or spatial"
            )
        self.inners = nn.ModuleList(inners)
        self.preference = nn.Parameter(torch.zeros(scales))
        take_properties(self, inners)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); each scale receives ``gate``."""
        share = torch.softmax(self.preference, dim=0)
        parts: list[Tensor] = []
        for i, inner in enumerate(self.inners):
            grid = [-(-n // 2**i) for n in x.shape[2:]]
            applied = inner(pool_to(x, grid) if i else x, gate, with_map).weights.to(x.dtype)
            if inner.kind != "channel":
                applied = interpolate_to(applied, x.shape[2:])
            parts.append(share[i].to(x.dtype) * applied)
        return apply_weights(x, sum(parts[1:], start=parts[0]))


def take_properties(whole: Attention, parts: Sequence[Attention]) -> None:
    """Give a mechanism the properties that follow from its parts."""
    kinds = {part.kind for part in parts}
    whole.kind = kinds.pop() if len(kinds) == 1 else "mixed"
    whole.needs_gate = any(part.needs_gate for part in parts)
    whole.multiplies = all(part.multiplies for part in parts)
