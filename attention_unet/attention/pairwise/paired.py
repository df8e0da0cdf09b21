"""Paired attention of UNETR++: attention between channels and between voxels, from the same queries and keys."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.attention.pairwise.scaled_dot_product import attend, bounded_grid, received_map, tokens
from attention_unet.layers.dimensions import CONV, pool_to


class PairedAttention(Gathering):
    """Efficient paired attention (Shaker et al., "UNETR++: Delving Into Efficient and Accurate 3D Medical Image
    Segmentation", TMI 2024)::

        X_c = softmax_channels(t_c q^T k) V_c,  X_s = softmax_keys(t_s q k_p^T) V_p,  y = x + [W_s X_s; W_c X_c]

    with q and k the queries and keys Q and K, each channel divided by its length, shared by both branches; t learned
    factors of each head; and k_p and V_p the keys and values of at most 64 blocks. The paper projects voxels to 64
    keys by a learned matrix, which fixes the size of the grid; averages over blocks leave it free. W start at 0: the
    exact identity.

    Args:
        heads: groups of channels that attend separately; if they do not divide C, the greatest common divisor of both.
        keys: most blocks.
    """

    def __init__(self, place: Place, *, heads: int = 4, keys: int = 64) -> None:
        super().__init__()
        conv, channels = CONV[place.dims], place.channels
        if channels < 2:
            raise ValueError("paired needs at least 2 channels: half of them are for each of its two blocks")
        self.heads, self.keys = math.gcd(channels, heads), keys
        self.query, self.key, self.channel_value, self.spatial_value = (
            conv(channels, channels, kernel_size=1) for _ in range(4)
        )
        self.channel_temperature = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.spatial_temperature = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.spatial_project = conv(channels, channels // 2, kernel_size=1)
        self.channel_project = conv(channels, channels - channels // 2, kernel_size=1)
        for layer in (self.spatial_project, self.channel_project):
            start_at_zero(layer)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are what the blocks received, (B, 1, *Sk)."""
        key = self.key(x)
        grid = bounded_grid(tuple(x.shape[2:]), self.keys)
        pooled_key, pooled_value = pool_to(key, grid), pool_to(self.spatial_value(x), grid)
        query = F.normalize(self.query(x).flatten(2), dim=2).reshape(x.shape)
        key = F.normalize(key.flatten(2), dim=2).reshape(x.shape)
        by_head = tokens(query, self.heads)
        products = by_head.transpose(2, 3) @ tokens(key, self.heads) * self.channel_temperature.to(x.dtype)
        shares = torch.softmax(products, dim=3)
        from_channels = tokens(self.channel_value(x), self.heads) @ shares.transpose(2, 3)
        scaled_query = by_head * self.spatial_temperature.to(x.dtype)
        from_voxels = attend(scaled_query, tokens(pooled_key, self.heads), tokens(pooled_value, self.heads), 1.0)
        parts = [
            project(gathered.transpose(2, 3).reshape(x.shape))
            for project, gathered in ((self.spatial_project, from_voxels), (self.channel_project, from_channels))
        ]
        received = None
        if with_map:
            flat_query = scaled_query.detach().transpose(2, 3).reshape(x.shape)
            received = received_map(flat_query, pooled_key.detach(), self.heads, 1.0).to(x.dtype)
        return Attended((x + torch.cat(parts, dim=1)).to(x.dtype), received)
