"""The input is added to what a mechanism makes of it, so that nothing can be lost."""

from torch import Tensor

from attention_unet.attention.base import Attended, Attention


class Residual(Attention):
    """y = x + attention(x), which for weights M is (1 + M) * x: the form of Wang et al., "Residual Attention Network
    for Image Classification", CVPR 2017. A closed mechanism leaves x as it is.

    Args:
        inner: the mechanism.
    """

    def __init__(self, inner: Attention) -> None:
        super().__init__()
        self.inner = inner
        self.kind, self.needs_gate, self.multiplies = inner.kind, inner.needs_gate, inner.multiplies

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend to ``x`` (B, C, *S); weights are 1 more than those inside, if these multiply."""
        features, weights = self.inner(x, gate)
        if weights is not None and self.multiplies:
            weights = 1 + weights
        return Attended(x + features, weights)
