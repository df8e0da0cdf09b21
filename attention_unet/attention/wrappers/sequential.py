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


def take_properties(whole: Attention, parts: Sequence[Attention]) -> None:
    """Give a mechanism the properties that follow from its parts."""
    kinds = {part.kind for part in parts}
    whole.kind = kinds.pop() if len(kinds) == 1 else "mixed"
    whole.needs_gate = any(part.needs_gate for part in parts)
    whole.multiplies = all(part.multiplies for part in parts)
