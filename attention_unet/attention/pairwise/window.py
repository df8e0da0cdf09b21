"""Window attention: voxels attend to each other inside of boxes."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.attention.pairwise.scaled_dot_product import attend, tokens
from attention_unet.layers.dimensions import CONV, crop_to

FAR = 1e4  # subtracted from the products with voxels outside the grid, so that their share is 0


class WindowAttention(Gathering):
    """Window attention (Liu et al., "Swin Transformer", ICCV 2021)::

        A = softmax_keys(Q^T K / sqrt(C / heads) + B),  y = x + W (V A^T)

    inside of boxes of ``size`` voxels per axis, with B one learned number for every head and offset between two voxels.
    ``shifted`` moves the boxes by half their size. At the border they are smaller, which the authors reach by a cyclic
    shift and a mask. The layer norm and the perceptron of a transformer block are left out. W starts at 0: the exact
    identity.

    Args:
        size: voxels of a box along each axis; if None 7 in 2-D, as published, and 4 in 3-D.
        shifted: move the boxes by half their size.
        heads: groups of channels that attend separately; if they do not divide C, the greatest common divisor of both.
    """

    def __init__(self, place: Place, *, size: int | None = None, shifted: bool = False, heads: int = 4) -> None:
        super().__init__()
        conv, channels = CONV[place.dims], place.channels
        self.size = size or {2: 7, 3: 4}[place.dims]
        self.front = (self.size + 1) // 2 % self.size if shifted else 0  # voxels of padding before the grid
        self.heads = math.gcd(channels, heads)
        self.query, self.key, self.value, self.project = (conv(channels, channels, kernel_size=1) for _ in range(4))
        start_at_zero(self.project)
        self.offset_bias = nn.Parameter(torch.zeros((2 * self.size - 1) ** place.dims, self.heads))
        nn.init.trunc_normal_(self.offset_bias, std=0.02)
        self.register_buffer("offsets", offset_numbers(self.size, place.dims), persistent=False)
        self.offsets: Tensor

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the received map (B, 1, *S)."""
        query, key, value = (self.boxes(part(x)) for part in (self.query, self.key, self.value))
        inside = self.boxes(torch.ones_like(x[:, :1]), heads=1)
        # One more channel keeps voxels beyond the border out: it adds 0 to the products inside, and -FAR outside.
        query = torch.cat([query, torch.ones_like(query[..., :1])], dim=3)
        scale = value.shape[3] ** -0.5
        outside = ((inside - 1) * FAR / scale).expand(-1, self.heads, -1, -1)
        key = torch.cat([key, outside.to(key.dtype)], dim=3)
        bias = self.offset_bias[self.offsets].permute(2, 0, 1)[None].to(query.dtype)
        gathered = self.whole(attend(query, key, value, scale, bias), x)
        received = None
        if with_map:
            with torch.no_grad():
                shares = torch.softmax(query @ key.transpose(2, 3) * scale + bias, dim=3)
                received = shares.mul(inside).mean(dim=1, keepdim=True).sum(dim=2)[..., None]
                received = self.whole(received, x).to(x.dtype)
        return Attended((x + self.project(gathered)).to(x.dtype), received)

    def boxes(self, values: Tensor, heads: int | None = None) -> Tensor:
        """Cut (B, C, *S) into boxes, (B * boxes, heads, voxels, C / heads); 0 outside the grid."""
        dims = values.dim() - 2
        padding = [each for n in reversed(values.shape[2:]) for each in (self.front, (-n - self.front) % self.size)]
        padded = F.pad(values, padding)
        counts = [n // self.size for n in padded.shape[2:]]
        padded = padded.reshape(*padded.shape[:2], *itertools.chain(*((count, self.size) for count in counts)))
        ordered = padded.permute(0, *range(2, 2 * dims + 2, 2), 1, *range(3, 2 * dims + 3, 2)).flatten(0, dims)
        return tokens(ordered, heads or self.heads)

    def whole(self, boxes: Tensor, like: Tensor) -> Tensor:
        """Put boxes (B * boxes, heads, voxels, C / heads) back on the grid of ``like``, (B, C, *S)."""
        dims = like.dim() - 2
        counts = [-(-(n + self.front) // self.size) for n in like.shape[2:]]
        values = boxes.transpose(2, 3).flatten(1, 2)
        values = values.reshape(len(like), *counts, values.shape[1], *[self.size] * dims)
        order = [0, dims + 1, *itertools.chain(*((1 + a, dims + 2 + a) for a in range(dims)))]
        values = values.permute(order)
        for axis in range(2, dims + 2):
            values = values.flatten(axis, axis + 1)
            values = values.narrow(axis, self.front, values.shape[axis] - self.front)
        return crop_to(values, like)


def offset_numbers(size: int, dims: int) -> Tensor:
    """Return a number for the offset between any two voxels of a box, (voxels, voxels)."""
    voxels = torch.stack(torch.meshgrid(*[torch.arange(size)] * dims, indexing="ij")).flatten(1)
    offsets = voxels[:, :, None] - voxels[:, None, :] + size - 1
    numbers = torch.zeros(offsets.shape[1:], dtype=torch.long)
    for along in offsets:
        numbers = numbers * (2 * size - 1) + along
    return numbers
