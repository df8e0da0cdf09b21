"""Scaled dot-product attention between voxels, in bounded memory and time, with a map for display: three mechanisms."""

import functools
import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Gathering, Place, gate_or_error, start_at_zero
from attention_unet.attention.pairwise.positions import PositionEncoding, Positions
from attention_unet.errors import times
from attention_unet.layers.dimensions import CONV, pool_to

log = logging.getLogger(__name__)

MAX_KEYS = 4096  # the keys of a finer grid are averaged
MAX_PAIRS = 2**28  # of queries and keys: beyond it fewer keys, so that a pass over 64 x 64 x 64 voxels takes seconds
MAX_QUERIES = 4096  # for the received map; on a finer grid they are equally spaced along every axis


class PairwiseAttention(Gathering):
    """Attention with queries from the voxels of one signal, and keys and values from those of another or the same.

    Queries, keys and values come from 1 x 1 convolutions. What is gathered passes another one, W, and is added to x.
    For a large grid the matrix of all pairs is never in memory: the kernel is fused, and keys and values of a grid of
    more than ``MAX_KEYS`` voxels, or fewer with more than ``MAX_PAIRS`` pairs, come from block averages, which is
    logged once.

    Args:
        source_channels: channels of the signal of keys and values.
        width: channels of queries, keys and values.
        heads: groups of channels that attend separately; a divisor of width.
        positions: what queries and keys know of where they are.
        scaled: divide the products by the square root of the channels of a head.
    """

    def __init__(
        self, place: Place, source_channels: int, width: int, heads: int, positions: Positions, scaled: bool
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads is {heads}: expected a divisor of the {width} channels that they share")
        conv = CONV[place.dims]
        self.query = conv(place.channels, width, kernel_size=1)
        self.key = conv(source_channels, width, kernel_size=1)
        self.value = conv(source_channels, width, kernel_size=1)
        self.query_positions = PositionEncoding(place.dims, place.channels, positions)
        self.key_positions = PositionEncoding(place.dims, source_channels, positions)
        self.heads = heads
        self.scale = (width // heads) ** -0.5 if scaled else 1.0
        self.project = conv(width, place.channels, kernel_size=1)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to its source; weights are the received map (B, 1, *Sk)."""
        gathered, received = self.gather(x, self.source(x, gate), with_map)
        return Attended((x + self.project(gathered)).to(x.dtype), received)

    def gather(self, x: Tensor, source: Tensor, with_map: bool) -> tuple[Tensor, Tensor | None]:
        """Return values (B, width, *S) for ``x`` (B, C, *S) from ``source`` (B, Cs, *Ss), and the map (B, 1, *Sk)."""
        source = average_keys(source, x.shape[2:], type(self).__name__)
        query, key = self.query(self.query_positions(x)), self.key(self.key_positions(source))
        value = self.value(source)
        gathered = attend(tokens(query, self.heads), tokens(key, self.heads), tokens(value, self.heads), self.scale)
        gathered = gathered.transpose(2, 3).reshape(len(x), -1, *x.shape[2:])
        received = received_map(query, key, self.heads, self.scale).to(x.dtype) if with_map else None
        return gathered, received

    @torch.no_grad()
    def row(self, x: Tensor, gate: Tensor | None, voxel: Sequence[int]) -> Tensor:
        """Return the attention of one voxel of ``x`` (B, C, *S): (B, 1, *Sk) on the grid of the keys, with sum 1.

        With several heads it is their mean. Raise ValueError if there is no such voxel.
        """
        grid = tuple(x.shape[2:])
        if len(voxel) != len(grid) or any(v not in range(n) for v, n in zip(voxel, grid, strict=True)):
            raise ValueError(f"voxel is {tuple(voxel)}: expected one index for each axis of the grid {grid}, from 0")
        source = average_keys(self.source(x, gate), grid, type(self).__name__)
        query, key = self.query(self.query_positions(x)), self.key(self.key_positions(source))
        for axis, index in enumerate(voxel, start=2):
            query = query.narrow(axis, index, 1)
        products = tokens(query, self.heads) @ tokens(key, self.heads).transpose(2, 3) * self.scale
        return torch.softmax(products, dim=3).mean(dim=1).reshape(len(x), 1, *key.shape[2:])

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the signal for keys and values: the skip itself."""
        return x


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


class NonLocalBlock(PairwiseAttention):
    """Non-local block, embedded Gaussian form (Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018)::

        A = softmax_keys(theta^T phi / sqrt(C / 2)),  y = x + W (g A^T)

    with theta, phi and g of C / 2 channels. W starts at 0, the exact identity. In the paper a batch normalisation after
    W starts at 0 instead.

    Args:
        heads: groups of channels that attend separately; a divisor of C / 2.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
        scaled: divide the products as the authors' code does; the paper's equation does not.
    """

    def __init__(self, place: Place, *, heads: int = 1, positions: Positions = "none", scaled: bool = True) -> None:
        super().__init__(place, place.channels, max(place.channels // 2, 1), heads, positions, scaled)
        start_at_zero(self.project)


class CrossAttention(PairwiseAttention):
    """Attention from a skip to the decoder (Vaswani et al., "Attention Is All You Need", NeurIPS 2017)::

        A = softmax_keys(Q^T K / sqrt(C / 2)),  y = x + W (V A^T)

    with Q from the skip x, and K and V from the gating signal, all of C / 2 channels. W starts at 0: the exact
    identity. There are fewer keys than queries, because the signal is coarser. Another mechanism of this name
    multiplies: Petit et al. (U-Net Transformer, 2021) take values from the skip, and gate it by the sigmoid of what was
    gathered.

    Args:
        heads: groups of channels that attend separately; a divisor of C / 2.
        positions: what queries and keys know of where they are: "none", "sine" or "learned".
    """

    needs_gate = True

    def __init__(self, place: Place, *, heads: int = 1, positions: Positions = "none") -> None:
        super().__init__(place, place.gate_channels, max(place.channels // 2, 1), heads, positions, scaled=True)
        start_at_zero(self.project)

    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the gating signal."""
        return gate_or_error(gate, "CrossAttention")


def average_keys(source: Tensor, queries: Sequence[int], name: str) -> Tensor:
    """Return the signal of the keys (B, C, *S), averaged over blocks if it has too many pairs with a grid of queries.

    ``name`` is for the log.
    """
    grid = tuple(source.shape[2:])
    smaller = bounded_grid(grid, min(MAX_KEYS, max(MAX_PAIRS // math.prod(queries), 1)))
    if smaller == grid:
        return source
    if not torch.compiler.is_compiling():
        log_averaged_keys(name, tuple(queries), grid, smaller)
    return pool_to(source, smaller)


@torch.no_grad()
def received_map(query: Tensor, key: Tensor, heads: int, scale: float) -> Tensor:
    """Return what each key of (B, d, *Sk) receives, on average over queries (B, d, *S) and heads: (B, 1, *Sk).

    1 is an equal share. The map is only for display: no gradient flows through it, and a large grid is represented by
    some of its queries.
    """
    for axis, n in enumerate(bounded_grid(tuple(query.shape[2:]), MAX_QUERIES), start=2):
        indices = torch.linspace(0, query.shape[axis] - 1, n, device=query.device).round().long()
        query = query.index_select(axis, indices)
    queries, keys = tokens(query, heads), tokens(key, heads)
    received = torch.zeros(keys.shape[:3], dtype=keys.dtype, device=keys.device)
    for chunk in torch.split(queries, 512, dim=2):
        received = received + torch.softmax(chunk @ keys.transpose(2, 3) * scale, dim=3).sum(dim=2)
    share = received.mean(dim=1) * (keys.shape[2] / queries.shape[2])
    return share.reshape(len(key), 1, *key.shape[2:])


def tokens(values: Tensor, heads: int = 1) -> Tensor:
    """Return (B, C, *S) as (B, heads, N, C / heads), in the memory layout of fused kernels."""
    batch, channels = values.shape[:2]
    return values.reshape(batch, heads, channels // heads, -1).transpose(2, 3).contiguous()


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Return softmax(query key^T scale + bias) value: (B, H, N, d), (B, H, M, d), (B, H, M, e) to (B, H, N, e).

    Fused kernels need queries as wide as the values, and some need a multiple of eight. If the matrix of pairs would be
    large, zeros are appended to reach such a width. They change no product, and keep the matrix out of memory.
    """
    width = value.shape[3]
    if query.shape[2] * key.shape[2] > MAX_KEYS**2:
        fused = -(-max(width, query.shape[3]) // 8) * 8
        query, key, value = (F.pad(part, (0, fused - part.shape[3])) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)[..., :width]


def bounded_grid(grid: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Halve the longest axis of a grid, rounded up, until the grid has at most ``most`` voxels."""
    smaller = list(grid)
    while math.prod(smaller) > most:
        longest = smaller.index(max(smaller))
        smaller[longest] = -(-smaller[longest] // 2)
    return tuple(smaller)


@functools.cache
def log_averaged_keys(name: str, queries: tuple[int, ...], keys: tuple[int, ...], smaller: tuple[int, ...]) -> None:
    """Log, once for the same grids, that keys are averaged, and the memory that all pairs would need."""
    full, reduced = (4 * math.prod(queries) * math.prod(grid) / 2**30 for grid in (keys, smaller))
    log.info(
        "%s: all pairs of %s queries and %s keys would take %.3g GiB a sample; keys are averaged to %s "
        "(%.3g GiB, never all in memory)",
        *(name, times(queries), times(keys), full, times(smaller), reduced),
    )
