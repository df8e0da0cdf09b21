"""Gaussian context transformer: channels whose mean is far from the others' are held back; nothing is learned."""

import torch
from torch import Tensor

from attention_unet.attention.base import Attended, Attention, over_grid


class GaussianContextTransformer(Attention):
    """Ruan et al., "Gaussian Context Transformer", CVPR 2021, in its form without parameters::

        z = mean_n x,  z' = (z - mean_c z) / std_c z,  s = exp(-z'^2 / (2 c^2)),  y = s * x,  c = 2

    A channel of average mean keeps its features. There is nothing to open: the weights are 0.88 for one standard
    deviation and 0.61 for two.
    """

    kind: str = "channel"

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1]."""
        z = x.flatten(2).mean(dim=2, dtype=torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(z, dim=1, correction=0, keepdim=True)
        width = 2.0
        weights = over_grid(torch.exp(-((z - mean) ** 2) / (variance + 1e-5) / (2 * width**2)), x)
        return Attended(x * weights, weights)
