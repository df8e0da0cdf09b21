"""Wrapper that applies mechanisms one after another."""

from collections.abc import Sequence

from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention


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
        self.parts_multiply = [part.multiplies for part in parts]
        counted = [part for part in parts if part.multiplies]
        counted = counted or [part for part in parts if part.kind != "identity"][-1:] or [parts[0]]
        self.weight_range = multiply_ranges([part.weight_range for part in counted])
        self.start_range = multiply_ranges([part.start_range for part in counted])

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Apply the parts in order to ``x`` (B, C, *S); each receives ``gate``."""
        product: Tensor | None = None
        last: Tensor | None = None
        for i, part in enumerate(self.parts):
            x, weights = part(x, gate, with_map)
            if weights is not None:
                last = weights
                if self.parts_multiply[i]:
                    product = weights if product is None else product * weights
        return Attended(x, last if product is None else product)


def take_properties(whole: Attention, parts: Sequence[Attention]) -> None:
    """Give a mechanism the properties that follow from its parts. The ranges of its weights are its own."""
    kinds = {part.kind for part in parts}
    whole.kind = kinds.pop() if len(kinds) == 1 else "mixed"
    whole.needs_gate = any(part.needs_gate for part in parts)
    for name in ("multiplies", "permutable", "mirrors", "starts_as_identity"):
        setattr(whole, name, all(getattr(part, name) for part in parts))
    for name in ("costly", "by_axis"):
        setattr(whole, name, any(getattr(part, name) for part in parts))


def multiply_ranges(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the range of a product of numbers from some ranges."""
    low, high = 1.0, 1.0
    for start, stop in ranges:
        ends = [a * b if a and b else 0.0 for a in (low, high) for b in (start, stop)]  # 0 times infinity is 0 here
        low, high = min(ends), max(ends)
    return low, high
