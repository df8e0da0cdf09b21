"""Frequency channel attention: the weight of a channel from its product with a cosine, not only from its mean."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, hidden_channels, open_up
from attention_unet.layers.dimensions import pool_to

GRID = 7  # voxels of each axis after pooling, before the transform, as in the paper

# The paper's 16 frequencies of a 7 x 7 grid with the best results alone, best first.
BEST_2D = [
    *[(0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0)],
    *[(5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2)],
]


class FrequencyChannelAttention(Attention):
    """Frequency attention (Qin, Zhang, Wu, Li, "FcaNet: Frequency Channel Attention Networks", ICCV 2021)::

        z_c = sum_n x_c(n) prod_a b_u(n_a),  s = sigmoid(W2 relu(W1 z)),  y = s * x

    with b_u(n) the orthonormal cosine basis of frequency u. The channels are divided equally among the frequencies, or
    fewer of them if there are fewer channels. In 2-D the frequencies are the paper's. The paper gives none for 3-D;
    here they are the lowest. On an axis shorter than 7 a frequency that is too high becomes the highest possible one.

    Args:
        place: where it sits; the "paper" start has no biases, the open one adds that of W2.
        frequencies: number of frequencies; in 2-D at most the paper's 16.
        reduction: C over the hidden channels, as in ``hidden_channels``.
    """

    kind: str = "channel"

    def __init__(self, place: Place, *, frequencies: int = 16, reduction: int = 16) -> None:
        super().__init__()
        channels = place.channels
        most = len(BEST_2D) if place.dims == 2 else GRID**3
        if frequencies > most:
            raise ValueError(f"frequencies is {frequencies}: expected at most {most} in {place.dims}-D")
        chosen = frequency_indices(place.dims, min(frequencies, channels))
        shares = torch.tensor_split(torch.arange(channels), len(chosen))
        by_channel = [index for index, share in zip(chosen, shares, strict=True) for _ in share]
        self.register_buffer("frequencies", torch.tensor(by_channel), persistent=False)
        self.frequencies: Tensor
        hidden = hidden_channels(place, reduction)
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.expand = nn.Linear(hidden, channels, bias=place.open)
        if place.open:
            open_up(self.expand)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        return apply_weights(x, torch.sigmoid(self.expand(F.relu(self.reduce(self.spectrum(x))))))

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
