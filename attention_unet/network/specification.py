"""Check and complete the specification of a network: sizes of levels, and attention at each place."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attention_unet.attention import Spec
from attention_unet.layers.dimensions import CONV, per_axis

Sizes = int | Sequence[int]
BLOCKS = ("plain", "residual")
PLACES = ("skips", "encoder", "decoder", "bottleneck")  # of attention

# A mechanism for all attended levels, or one for each level that is named: {1: "gate", 2: "cross"}.
AttentionByLevel = Spec | Mapping[int, Spec]


def by_level(spec: AttentionByLevel, levels: Sequence[int] | None, count: int, name: str) -> dict[int, Spec]:
    """Return the mechanism of each level.

    Args:
        spec: a mechanism for all ``levels``, or a mapping from levels.
        levels: None: all but the finest, or the finest if it is the only one.
        count: number of levels at this place.
        name: name of the place, for the error.

    Raises:
        ValueError: if there is no such level, or a mechanism would be on no level.
    """
    placed: dict[int, Spec]
    if spec == "identity":
        return {}
    if isinstance(spec, Mapping) and all(str(key).isdecimal() for key in spec):
        placed = {int(key): value for key, value in spec.items()}
        absent = [level for level in placed if level >= count]
        if absent:
            raise ValueError(f"{name} can be attended on levels 0 to {count - 1} of this network, got {absent}")
    else:
        attended = range(min(1, count - 1), count) if levels is None else sorted(levels)
        placed = {level: spec for level in attended if level < count}  # type: ignore[misc]  # no mapping of levels
    if not placed:
        raise ValueError(
            f"{name}: {spec!r} would sit on no level: expected some of 0 to {count - 1}, or identity for no attention"
        )
    return placed


def is_encoding(spec: Spec) -> bool:
    """Return whether a specification is context encoding alone; inside of others it does not learn classes."""
    return spec in ("encoding", ["encoding"])


def describe_attention(architecture: Mapping[str, Any]) -> str:
    """Return the attention of an architecture as text, as in a configuration."""
    return "; ".join(f"{place} {json.dumps(architecture[place])}".replace('"', "") for place in PLACES)


@contextmanager
def named(place: str) -> Iterator[None]:
    """Add the name of the place to errors."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def check_sizes(
    dims: int,
    channels: Sequence[int],
    strides: Sequence[Sizes] | None,
    kernels: Sequence[Sizes] | None,
    block: str,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Check the arguments; return strides and kernels of the levels, one number per axis."""
    depth = len(channels)
    if dims not in CONV:
        raise ValueError(f"dims must be 2 or 3, got {dims}")
    if block not in BLOCKS:
        raise ValueError(f"no block is called {block!r}; there are {', '.join(BLOCKS)}")
    if depth < 2:
        raise ValueError(f"channels must name at least two levels, got {list(channels)}")
    strides = [2] * (depth - 1) if strides is None else list(strides)
    kernels = [3] * depth if kernels is None else list(kernels)
    if len(strides) != depth - 1 or len(kernels) != depth:
        raise ValueError(
            f"{depth} levels of channels need {depth - 1} strides and {depth} kernels, "
            f"got {len(strides)} and {len(kernels)}"
        )
    step = [per_axis(s if isinstance(s, int) else tuple(s), dims) for s in strides]
    sizes = [per_axis(k if isinstance(k, int) else tuple(k), dims) for k in kernels]
    if any(k % 2 == 0 for size in sizes for k in size):
        raise ValueError(f"kernels must be odd, or the grid would shift, got {kernels}")
    return step, sizes
