"""Frequency channel attention: the weight of a channel from its product with a cosine, not only from its mean."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Init, broadcast_channels, open_up
from attention_unet.layers.dimensions import pool_to

GRID = 7  # voxels of each axis after pooling, before the transform, as in the paper
FREQUENCIES = 16

# The paper's 16 frequencies of a 7 x 7 grid with the best results alone, best first.
BEST_2D = [
    *[(0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0)],
    *[(5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2)],
]


class FrequencyChannelAttention(Attention):
    """Frequency attention (Qin, Zhang, Wu, Li, "FcaNet: Frequency Channel Attention Networks", ICCV 2021)::

        z_c = sum_n x_c(n) prod_a b_u(n_a),  s = sigmoid(W2 relu(W1 z)),  y = s * x

    with b_u(n) the orthonormal cosine basis of frequency u. The channels are divided equally among 16 frequencies, or
    fewer if there are fewer channels. In 2-D the frequencies are the paper's. The paper gives none for 3-D; here they
    are the lowest. On an axis shorter than 7 a frequency that is too high becomes the highest possible one. The small
    network has C / 16 hidden channels, but at least the smaller of 8 and C.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
        init: "paper" has no biases; "open" adds that of W2 and starts at weights of about 0.95.
    """

    kind: str = "channel"

    def __init__(self, dims: int, channels: int, init: Init = "open") -> None:
        super().__init__()
        chosen = frequency_indices(dims, min(FREQUENCIES, channels))
        shares = torch.tensor_split(torch.arange(channels), len(chosen))
        by_channel = [index for index, share in zip(chosen, shares, strict=True) for _ in share]
        self.register_buffer("frequencies", torch.tensor(by_channel), persistent=False)
        self.frequencies: Tensor
        hidden = max(channels // 16, min(channels, 8))
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=init == "open")
        if init == "open":
            open_up(self.expand)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        weights = broadcast_channels(torch.sigmoid(self.expand(F.relu(self.reduce(self.spectrum(x))))), x)
        return Attended(x * weights, weights)

    def spectrum(self, x: Tensor) -> Tensor:
        """Return the coefficient (B, C) of each channel of ``x`` (B, C, *S) at its frequency, on the pooled grid."""
        grid = [min(n, GRID) for n in x.shape[2:]]
        pooled = pool_to(x, grid)
        for axis in range(len(grid) - 1, -1, -1):
            basis = cosine_basis(self.frequencies[:, axis], grid[axis], pooled)
            pooled = (pooled * basis.reshape(len(basis), *[1] * axis, -1)).sum(dim=-1)
        return pooled


def frequency_indices(dims: int, count: int) -> list[tuple[int, ...]]:
    """Return the frequencies to use, each as one number from 0 to 6 per axis; the first is the mean."""
    if dims == 2:
        return list(BEST_2D[:count])
    triples = itertools.product(range(GRID), repeat=dims)
    return sorted(triples, key=lambda t: (sum(t), max(t), t))[:count]


def cosine_basis(frequencies: Tensor, n: int, like: Tensor) -> Tensor:
    """Return the orthonormal DCT-II basis (C, n) of an axis of ``n`` samples, one row per frequency (C,)."""
    precise = torch.promote_types(like.dtype, torch.float32)
    frequency = frequencies.clamp(max=n - 1).to(precise)[:, None]
    position = torch.arange(n, device=like.device, dtype=precise) + 0.5
    norm = torch.where(frequency == 0, torch.full_like(frequency, 1 / n), torch.full_like(frequency, 2 / n)).sqrt()
    return (norm * torch.cos(math.pi / n * frequency * position)).to(like.dtype)
