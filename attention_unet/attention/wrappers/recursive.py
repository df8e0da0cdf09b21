"""Wrapper that applies a mechanism repeatedly to its own result."""

from torch import Tensor

from attention_unet.attention.base import Attended, Attention
from attention_unet.attention.wrappers.sequential import take_properties


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
