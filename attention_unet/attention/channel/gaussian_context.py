"""Gaussian context transformer: suppresses channels whose mean is far from the others; nothing is learned."""

import torch
from torch import Tensor

from attention_unet.attention.base import Attended, Attention, Place, apply_weights


class GaussianContextTransformer(Attention):
    """Form without parameters of Ruan et al., "Gaussian Context Transformer", CVPR 2021::

        z = mean_n x,  z' = (z - mean_c z) / std_c z,  s = exp(-z'^2 / (2 c^2)),  y = s * x

    A channel of average mean keeps its features. The start cannot be opened: with c = 2 the weights are 0.88 at
    one standard deviation and 0.61 at two.

    Args:
        width: c, how far from the others the mean of a channel may be.
    """

    kind: str = "channel"

    def __init__(self, place: Place, *, width: float = 2.0) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1]."""
        z = x.flatten(2).mean(dim=2, dtype=torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(z, dim=1, correction=0, keepdim=True)
        return apply_weights(x, torch.exp(-((z - mean) ** 2) / (variance + 1e-5) / (2 * self.width**2)))
