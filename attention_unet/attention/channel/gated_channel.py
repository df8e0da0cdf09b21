"""Gated channel transformation: channels compete or cooperate by their norms."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, apply_weights


class GatedChannelTransformation(Attention):
    """GCT (Yang, Zhu, Wu, Yang, "Gated Channel Transformation for Visual Recognition", CVPR 2020)::

        s_c = alpha_c ||x_c||_2,  s'_c = sqrt(C) s_c / ||s||_2,  y_c = x_c (1 + tanh(gamma_c s'_c + beta_c))

    With positive gamma channels compete, with negative gamma they cooperate. It starts as the exact identity. A block
    applies it before each convolution.
    """

    kind: str = "channel"
    before_convolution = True

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(place.channels))
        self.gamma = nn.Parameter(torch.zeros(place.channels))
        self.beta = nn.Parameter(torch.zeros(place.channels))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 2)."""
        norms = torch.linalg.vector_norm(x.flatten(2), dim=2, dtype=torch.promote_types(x.dtype, torch.float32))
        embedded = self.alpha * norms
        # The mean of the squares over channels is ||s||^2 / C. The constant is for an image of zeros, whose norm is 0.
        normalised = embedded * (embedded.square().mean(dim=1, keepdim=True) + 1e-5).rsqrt()
        return apply_weights(x, 1 + torch.tanh(self.gamma * normalised + self.beta))
