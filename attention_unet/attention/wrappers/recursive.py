"""One mechanism applied again and again to its own result."""

from torch import Tensor

from attention_unet.attention.base import Attended, Attention


class Recursive(Attention):
    """x_t+1 = attention(x_t, gate), T times with the same parameters; one step is the mechanism itself.

    Weights below 1 multiply: T steps of them shrink the features. The weights returned are the product of all steps,
    what was applied to the input, if the mechanism multiplies; the map of the last step otherwise. ``steps`` gives
    those of each.

    Args:
        inner: the mechanism.
        times: number T, at least 1.

    Raises:
        ValueError: if ``times`` is below 1.
    """

    def __init__(self, inner: Attention, times: int = 3) -> None:
        super().__init__()
        if times < 1:
            raise ValueError(f"a recursive mechanism is applied at least once, not {times} times")
        self.inner, self.times = inner, times
        self.kind, self.needs_gate, self.multiplies = inner.kind, inner.needs_gate, inner.multiplies

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend T times to ``x`` (B, C, *S); each step receives ``gate``."""
        steps = self.steps(x, gate)
        weights = steps[-1].weights
        if self.multiplies:
            for step in steps[:-1]:
                if weights is not None and step.weights is not None:
                    weights = weights * step.weights
        return Attended(steps[-1].features, weights)

    def steps(self, x: Tensor, gate: Tensor | None = None) -> list[Attended]:
        """Features and weights after each step."""
        results: list[Attended] = []
        for _ in range(self.times):
            results.append(self.inner(results[-1].features if results else x, gate))
        return results
