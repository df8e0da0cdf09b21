"""Scaled dot-product attention between voxels, in bounded memory, with a map for display."""

import functools
import logging
import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attention
from attention_unet.layers.dimensions import CONV, pool_to

log = logging.getLogger(__name__)

MAX_KEYS = 4096  # the keys of a finer grid are averaged
MAX_QUERIES = 4096  # for the received map; on a finer grid they are equally spaced along every axis


class PairwiseAttention(Attention):
    """Attention with queries from the voxels of one signal, and keys and values from those of another or the same.

    Queries, keys and values come from 1 x 1 convolutions. For a large grid the matrix of all pairs is never in memory:
    the kernel is fused, and keys and values of a grid of more than ``MAX_KEYS`` voxels come from block averages, which
    is logged once.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels of the queries' signal.
        source_channels: channels of the signal of keys and values.
        width: channels of queries and keys.
        value_width: channels of the values.
        scaled: divide the products by sqrt(width).
    """

    kind: str = "pairwise"
    multiplies = False

    def __init__(
        self, dims: int, channels: int, source_channels: int, width: int, value_width: int, scaled: bool = True
    ) -> None:
        super().__init__()
        self.query = CONV[dims](channels, width, kernel_size=1)
        self.key = CONV[dims](source_channels, width, kernel_size=1)
        self.value = CONV[dims](source_channels, value_width, kernel_size=1)
        self.scale = width**-0.5 if scaled else 1.0
        self.received = ReceivedMap(self.scale)

    def gather(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Gather values for each voxel of ``x`` (B, C, *S) from ``source`` (B, Cs, *Ss).

        Returns:
            Gathered values (B, value_width, *S), and the received map (B, 1, *Sk) on the grid of the keys.
        """
        source = self._bounded(source, x.shape[2:])
        query, key, value = self.query(x), self.key(source), self.value(source)
        gathered = attend(tokens(query), tokens(key), tokens(value), self.scale)
        gathered = gathered.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
        return gathered, self.received(query, key)

    @torch.no_grad()
    def row(self, x: Tensor, gate: Tensor | None, voxel: Sequence[int]) -> Tensor:
        """Return the attention of one voxel of ``x`` (B, C, *S): (B, 1, *Sk) on the grid of the keys, with sum 1.

        Raises:
            ValueError: if there is no such voxel.
        """
        grid = tuple(x.shape[2:])
        if len(voxel) != len(grid) or any(v not in range(n) for v, n in zip(voxel, grid, strict=True)):
            raise ValueError(f"voxel is {tuple(voxel)}: expected one index for each axis of the grid {grid}, from 0")
        source = self._bounded(self.source(x, gate), grid)
        features = x
        for axis, index in enumerate(voxel, start=2):
            features = features.narrow(axis, index, 1)
        key = self.key(source)
        products = tokens(self.query(features)) @ tokens(key).transpose(1, 2) * self.scale
        return torch.softmax(products, dim=2).reshape(len(x), 1, *key.shape[2:])

    @abstractmethod
    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """Return the signal for keys and values."""

    def _bounded(self, source: Tensor, query_grid: Sequence[int]) -> Tensor:
        """Return ``source``, averaged if it has more than ``MAX_KEYS`` voxels."""
        grid = tuple(source.shape[2:])
        bounded = bounded_grid(grid, MAX_KEYS)
        if bounded == grid:
            return source
        if not torch.compiler.is_compiling():
            log_averaged_keys(type(self).__name__, tuple(query_grid), grid, bounded)
        return pool_to(source, bounded)


class ReceivedMap(nn.Module):
    """Attention that each key receives, on average over the queries; 1 is an equal share.

    It is only for display: no gradient flows through it, and a large grid is represented by some of its queries.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    @torch.no_grad()
    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the map (B, 1, *Sk) from queries (B, d, *S) and keys (B, d, *Sk)."""
        for axis, n in enumerate(bounded_grid(tuple(query.shape[2:]), MAX_QUERIES), start=2):
            indices = torch.linspace(0, query.shape[axis] - 1, n, device=query.device).round().long()
            query = query.index_select(axis, indices)
        queries, keys = tokens(query), tokens(key)
        received = torch.zeros(keys.shape[:2], dtype=keys.dtype, device=keys.device)
        for chunk in torch.split(queries, 512, dim=1):
            received = received + torch.softmax(chunk @ keys.transpose(1, 2) * self.scale, dim=2).sum(dim=1)
        share = received * (keys.shape[1] / queries.shape[1])
        return share.reshape(len(key), 1, *key.shape[2:])


def tokens(values: Tensor) -> Tensor:
    """Return (B, C, *S) as (B, N, C), in the memory layout of fused kernels."""
    return values.flatten(2).transpose(1, 2).contiguous()


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return softmax(query key^T scale) value, for (B, N, d), (B, M, d) and (B, M, e), as (B, N, e).

    Fused kernels need queries as wide as the values, and some need a multiple of eight. If the matrix of pairs would be
    large, zeros are appended to reach such a width. They change no product, and keep the matrix out of memory.
    """
    width = value.shape[2]
    if query.shape[1] * key.shape[1] > MAX_KEYS**2:
        fused = -(-max(width, query.shape[2]) // 8) * 8
        query, key, value = (F.pad(part, (0, fused - part.shape[2])) for part in (query, key, value))
    # The fused kernels need an axis for heads; here there is one head.
    query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
    return F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)[..., :width]


def bounded_grid(grid: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Halve the longest axis of a grid, rounded up, until the grid has at most ``most`` voxels."""
    bounded = list(grid)
    while math.prod(bounded) > most:
        longest = bounded.index(max(bounded))
        bounded[longest] = -(-bounded[longest] // 2)
    return tuple(bounded)


@functools.cache
def log_averaged_keys(name: str, queries: tuple[int, ...], keys: tuple[int, ...], bounded: tuple[int, ...]) -> None:
    """Log, once for the same grids, that keys are averaged, and the memory that all pairs would need."""
    full, reduced = (4 * math.prod(queries) * math.prod(grid) / 2**30 for grid in (keys, bounded))
    log.info(
        "%s: all pairs of %s queries and %s keys would take %.3g GiB a sample; keys are averaged to %s "
        "(%.3g GiB, never all in memory)",
        *(name, _format_grid(queries), _format_grid(keys), full, _format_grid(bounded), reduced),
    )


def _format_grid(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))
