"""Self-attention of SAGAN: every voxel gathers from all others."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Init
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention


class SelfAttention(PairwiseAttention):
    """Self-attention (Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019)::

        A = softmax_keys(Q^T K / sqrt(C / 8)),  y = x + gamma V A^T

    with Q and K of C / 8 channels and V of C. gamma starts at 0: the exact identity.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
        init: "paper" does not divide by sqrt(C / 8).
    """

    def __init__(self, dims: int, channels: int, init: Init = "open") -> None:
        super().__init__(dims, channels, channels, max(channels // 8, 1), channels, scaled=init == "open")
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the received map (B, 1, *Sk)."""
        gathered, received = self.gather(x, x)
        return Attended((x + self.gamma * gathered).to(x.dtype), received.to(x.dtype))

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the skip itself."""
        return x
