"""Bilinear attention: weights from the products of all pairs of channels, in each voxel and on average."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import OPEN_BIAS, OPEN_STD, Attended, Attention, Place, broadcast_channels
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import EightChannelNorm


class BilinearAttention(Attention):
    """Bi-attention (Fang et al., "Bilinear Attention Networks for Person Retrieval", ICCV 2019)::

        u = relu(norm(W x)),  t_n = {u_ni u_nj, i >= j},  outer = A t,  inner = B mean_n t,
        s = sigmoid(inner * outer),  y = s * x

    u has C / 16 channels, at least 4 and at most 16, because t has a channel for every pair. Normalisation is in groups
    of eight channels. In the published form a normalisation and a ReLU follow A and B. Then s is never below one half
    and cannot suppress. The open form leaves these out, and a bias opens s.

    Args:
        place: where it sits; the "paper" start is the published form, with s from 0.5 to 1.
        width: channels of u; if None as above.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, width: int | None = None) -> None:
        super().__init__()
        dims, channels = place.dims, place.channels
        width = width or min(max(channels // 16, 4), 16)
        pairs = torch.tril_indices(width, width)
        self.register_buffer("pairs", pairs, persistent=False)
        self.pairs: Tensor
        self.reduce = nn.Sequential(CONV[dims](channels, width, kernel_size=1), EightChannelNorm(width))
        self.outer = CONV[dims](pairs.shape[1], channels, kernel_size=1)
        self.inner = nn.Linear(pairs.shape[1], channels)
        self.published = not place.open
        self.outer_norm = EightChannelNorm(channels) if self.published else nn.Identity()
        # The average is one vector per case, which can only be normalised over its channels.
        self.inner_norm = nn.LayerNorm(channels) if self.published else nn.Identity()
        self.bias = None
        if not self.published:
            nn.init.normal_(self.outer.weight, std=OPEN_STD)
            self.bias = nn.Parameter(torch.full((channels,), OPEN_BIAS))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0, 1), or in [0.5, 1) in the published form."""
        reduced = F.relu(self.reduce(x))
        products = reduced[:, self.pairs[0]] * reduced[:, self.pairs[1]]
        outer = self.outer_norm(self.outer(products))
        inner = self.inner_norm(self.inner(products.flatten(2).mean(dim=2)))
        if self.published:
            outer, inner = F.relu(outer), F.relu(inner)
        logits = broadcast_channels(inner, x) * outer
        if self.bias is not None:
            logits = logits + broadcast_channels(self.bias[None], x)
        weights = torch.sigmoid(logits).to(x.dtype)
        return Attended(x * weights, weights)
