"""SimAM: a voxel that differs from the rest of its channel gets the largest weight; nothing is learned."""

import torch
from torch import Tensor

from attention_unet.attention.base import Attended, Attention, Place, apply_weights


class SimAM(Attention):
    """SimAM (Yang, Zhang, Li, Xie, "SimAM: A Simple, Parameter-Free Attention Module ...", ICML 2021)::

        e_n = (x_n - mean)^2 / (4 (var + lambda)) + 1/2,  y = sigmoid(e) * x

    with mean and variance (over N - 1) of each channel. The start cannot be opened: a weight is at least 0.62, that of
    the mean, and 0.68 at one standard deviation.

    Args:
        smoothing: lambda; a larger one makes all weights more alike.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, smoothing: float = 1e-4) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0.62, 1)."""
        voxels = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(voxels, dim=2, correction=min(1, voxels.shape[2] - 1), keepdim=True)
        energy = (voxels - mean).square() / (4 * (variance + self.smoothing)) + 0.5
        return apply_weights(x, torch.sigmoid(energy).reshape(x.shape))
