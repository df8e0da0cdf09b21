"""One mechanism after another."""

from collections.abc import Sequence

from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention


class Sequential(Attention):
    """Each mechanism looks at what the one before let pass.

    The weights returned are the product of the weights of those parts that multiply: what was applied to the input, if
    all do. If none does, they are the map of the last.

    Args:
        parts: at least one mechanism, in order.
    """

    def __init__(self, parts: Sequence[Attention]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.kind = common_kind(parts)
        self.needs_gate = any(part.needs_gate for part in parts)
        self.multiplies = all(part.multiplies for part in parts)
        self.weighing = [part.multiplies for part in parts]

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Apply the parts in order to ``x`` (B, C, *S); each receives ``gate``."""
        product: Tensor | None = None
        last: Tensor | None = None
        for i, part in enumerate(self.parts):
            x, weights = part(x, gate)
            if weights is not None:
                last = weights
                if self.weighing[i]:
                    product = weights if product is None else product * weights
        return Attended(x, last if product is None else product)


def common_kind(parts: Sequence[Attention]) -> str:
    """The kind of all parts; "mixed" if they differ."""
    kinds = {part.kind for part in parts}
    return kinds.pop() if len(kinds) == 1 else "mixed"
