"""Wrapper that adds the input to the result of a mechanism, so that nothing is lost."""

from torch import Tensor

from attention_unet.attention.base import Attended, Attention
from attention_unet.attention.wrappers.sequential import take_properties


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
