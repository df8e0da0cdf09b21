"""Efficient attention: every voxel mixes a few weighted sums of the image, in linear time."""

import math

import torch
from torch import Tensor

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.attention.pairwise.scaled_dot_product import tokens
from attention_unet.layers.dimensions import CONV


class EfficientAttention(Gathering):
    """Efficient attention (Shen, Zhang, Zhao, Yi, Li, "Efficient Attention: Attention with Linear Complexities", WACV
    2021)::

        y = x + W softmax_channels(Q) (softmax_voxels(K)^T V)

    Each channel of K is a map of the whole grid, by which values are summed; a voxel mixes these sums. The softmax over
    pairs of voxels is thereby replaced by a product of two, and the matrix of pairs never exists. W starts at 0: the
    exact identity.

    Args:
        heads: groups of channels that attend separately; if they do not divide C, the greatest common divisor of both.
    """

    def __init__(self, place: Place, *, heads: int = 1) -> None:
        super().__init__()
        conv, channels = CONV[place.dims], place.channels
        self.heads = math.gcd(channels, heads)
        self.query, self.key, self.value, self.project = (conv(channels, channels, kernel_size=1) for _ in range(4))
        start_at_zero(self.project)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the mean map of the keys, (B, 1, *S), of mean 1."""
        query = torch.softmax(tokens(self.query(x), self.heads), dim=3)
        key = torch.softmax(tokens(self.key(x), self.heads), dim=2)
        gathered = query @ (key.transpose(2, 3) @ tokens(self.value(x), self.heads))
        gathered = gathered.transpose(2, 3).reshape(x.shape)
        received = None
        if with_map:
            received = (key.detach().mean(dim=(1, 3)) * key.shape[2]).reshape(len(x), 1, *x.shape[2:]).to(x.dtype)
        return Attended((x + self.project(gathered)).to(x.dtype), received)
