"""Self-attention of SAGAN: every voxel gathers from all others."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Place
from attention_unet.attention.pairwise.positions import Positions
from attention_unet.attention.pairwise.scaled_dot_product import PairwiseAttention


class SelfAttention(PairwiseAttention):
    """Self-attention (Zhang et al., "Self-Attention Generative Adversarial Networks", ICML 2019)::

        A = softmax_keys(Q^T K / sqrt(C / 8)),  y = x + gamma W (V A^T)

    with Q, K and V of C / 8 channels, and W a 1 x 1 convolution back to C. gamma starts at 0: the exact identity.

    Args:
        place: where it sits; the "paper" start does not divide by sqrt(C / 8).
        heads: groups of channels that attend separately; a divisor of C / 8.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
        reduction: C over the channels of queries, keys and values.
    """

    def __init__(self, place: Place, *, heads: int = 1, positions: Positions = "none", reduction: int = 8) -> None:
        width = max(place.channels // reduction, 1)
        super().__init__(place, place.channels, width, heads, positions, scaled=place.open)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the received map (B, 1, *Sk)."""
        gathered, received = self.gather(x, x, with_map)
        return Attended((x + self.gamma * self.project(gathered)).to(x.dtype), received)
