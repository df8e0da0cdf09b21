"""Scaled dot-product attention between voxels, in bounded memory, with a map that can be drawn."""

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

MAX_KEYS = 4096  # keys of a finer grid are averaged until they are no more
MAX_QUERIES = 4096  # of the map that is drawn: spread evenly along every axis of a finer grid


class PairwiseAttention(Attention):
    """Queries from each voxel of one signal, keys and values from each of another (or the same), by 1 x 1 convolutions.

    The matrix of all pairs is never held for a large grid: the kernel is fused, and keys and values of a grid of more
    than ``max_keys`` voxels come from block averages, which a message tells once.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels of the queries' signal.
        source_channels: channels of the signal of keys and values.
        width: channels of queries and keys.
        value_width: channels of the values.
        scaled: divide the products by sqrt(width).
        max_keys: the most keys.
    """

    kind: str = "pairwise"
    multiplies = False

    def __init__(
        self,
        dims: int,
        channels: int,
        source_channels: int,
        width: int,
        value_width: int,
        scaled: bool = True,
        max_keys: int = MAX_KEYS,
    ) -> None:
        super().__init__()
        self.query = CONV[dims](channels, width, kernel_size=1)
        self.key = CONV[dims](source_channels, width, kernel_size=1)
        self.value = CONV[dims](source_channels, value_width, kernel_size=1)
        self.scale = width**-0.5 if scaled else 1.0
        self.max_keys = max_keys
        self.received = ReceivedMap(self.scale)

    def gather(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """What each voxel of ``x`` (B, C, *S) gathers from ``source`` (B, Cs, *Ss).

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
        """How one voxel of ``x`` (B, C, *S) spreads its attention: (B, 1, *Sk) on the grid of the keys, sum 1.

        Raises:
            ValueError: if there is no such voxel.
        """
        if len(voxel) != x.dim() - 2 or any(v not in range(n) for v, n in zip(voxel, x.shape[2:], strict=True)):
            raise ValueError(f"no voxel {tuple(voxel)} on a grid of {tuple(x.shape[2:])}")
        source = self._bounded(self.source(x, gate), x.shape[2:])
        one = x
        for axis, place in enumerate(voxel):
            one = one.narrow(2 + axis, place, 1)
        key = self.key(source)
        products = tokens(self.query(one)) @ tokens(key).transpose(1, 2) * self.scale
        return torch.softmax(products, dim=2).reshape(len(x), 1, *key.shape[2:])

    @abstractmethod
    def source(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """The signal that keys and values come from."""

    def _bounded(self, source: Tensor, query_grid: Sequence[int]) -> Tensor:
        grid = tuple(source.shape[2:])
        bounded = bounded_grid(grid, self.max_keys)
        if bounded == grid:
            return source
        if not torch.compiler.is_compiling():
            tell_once(type(self).__name__, tuple(query_grid), grid, bounded)
        return pool_to(source, bounded)


class ReceivedMap(nn.Module):
    """Attention that each key receives, on average over the queries; 1 is an equal share. It is for people to look at:
    no gradient flows through it, and of a large grid some queries are asked, evenly spread.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    @torch.no_grad()
    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Map (B, 1, *Sk) from queries (B, d, *S) and keys (B, d, *Sk)."""
        for axis, n in enumerate(bounded_grid(tuple(query.shape[2:]), MAX_QUERIES), start=2):
            places = torch.linspace(0, query.shape[axis] - 1, n, device=query.device).round().long()
            query = query.index_select(axis, places)
        asked, keys = tokens(query), tokens(key)
        received = torch.zeros(keys.shape[:2], dtype=keys.dtype, device=keys.device)
        for some in torch.split(asked, 512, dim=1):
            received = received + torch.softmax(some @ keys.transpose(1, 2) * self.scale, dim=2).sum(dim=1)
        share = received * (keys.shape[1] / asked.shape[1])
        return share.reshape(len(key), 1, *key.shape[2:])


def tokens(values: Tensor) -> Tensor:
    """(B, C, *S) as (B, N, C), laid out as fused kernels want it."""
    return values.flatten(2).transpose(1, 2).contiguous()


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(query key^T scale) value, for (B, N, d), (B, M, d) and (B, M, e), as (B, N, e).

    Fused kernels want queries as wide as the values, some a width in eights. Where the matrix of pairs would be large,
    zeros make them so: they change no product, and the matrix is not held.
    """
    width = value.shape[2]
    if query.shape[1] * key.shape[1] > MAX_KEYS**2:
        fused = -(-max(width, query.shape[2]) // 8) * 8
        query, key, value = (F.pad(part, (0, fused - part.shape[2])) for part in (query, key, value))
    # One head: the fused kernels want an axis for heads.
    query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
    return F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)[..., :width]


def bounded_grid(grid: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The grid, its longest axis halved (and rounded up) until it has no more than ``most`` voxels."""
    bounded = list(grid)
    while math.prod(bounded) > most:
        longest = bounded.index(max(bounded))
        bounded[longest] = -(-bounded[longest] // 2)
    return tuple(bounded)


@functools.cache
def tell_once(name: str, queries: tuple[int, ...], keys: tuple[int, ...], bounded: tuple[int, ...]) -> None:
    """Log that keys are averaged, with the grids and what all pairs would take; once for the same grids."""
    full, used = (4 * math.prod(queries) * math.prod(grid) / 2**30 for grid in (keys, bounded))
    log.info(
        "%s: %s voxels look at %s: all pairs would take %.3g GiB a sample; keys are averaged to %s (%.3g GiB, which "
        "the fused kernel does not hold at once)",
        *(name, _times(queries), _times(keys), full, _times(bounded), used),
    )


def _times(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))
