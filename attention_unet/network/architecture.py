"""The architecture of the network: sizes of its levels, and the attention at each place."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from attention_unet.attention import Init, Place, Spec
from attention_unet.layers.dimensions import CONV, per_axis
from attention_unet.layers.normalization import NORMS

Sizes = int | Sequence[int]
BLOCKS = ("plain", "residual")
WIDTHS = (16, 32, 64, 128)

# A mechanism for all attended levels, or one for each level that is named: {1: "gate", 2: "cross"}.
AttentionByLevel = Spec | Mapping[int, Spec]


@dataclass(frozen=True)
class Architecture:
    """The architecture of an ``AttentionUNet``, in plain values that JSON can hold.

    Name a mechanism, or give it options: ``{"se": {"reduction": 4}}``; a list is applied in sequence; a mapping wraps,
    such as ``{"parallel": ["se", "sse"]}``; "identity" is no attention. A mapping from levels names a mechanism for
    each level.

    Attributes:
        dims: 2 or 3 spatial dimensions.
        in_channels: image channels.
        out_channels: channels of the logits: background and classes, or one per class if classes overlap.
        channels: features of each level, finest first.
        strides: stride of each level below the finest, one value or one per axis; default 2.
        kernels: kernel size of each level, one value or one per axis; default 3.
        block: "plain" or "residual".
        convs: convolutions of each block of the encoder.
        decoder_convs: convolutions of each block of the decoder: 2 as published; trainings use 1 by default.
        norm: normalisation of all blocks, "instance" or "group" (of eight channels). None: "group" in a block if the
            attention in it, on its skip or after it weights channels or has parts of several kinds; else "instance".
        deep_supervision: train the logits of every decoder level, not only of the finest.
        skips: attention on the skips.
        encoder: attention in the encoder's blocks.
        decoder: attention in the decoder's blocks.
        bottleneck: attention after the coarsest block.
        inputs: attention on the image, between its channels: which sequence counts.
        levels: levels with attention, for skips, encoder and decoder that do not name levels; None: all but the finest.
            The coarsest level has an encoder block only.
        init: attention starts "open", as the identity or near it, or as in the "paper".

    Raises:
        ValueError: if a value is not one of the choices, or lists have different lengths.

    Example:
        >>> Architecture(channels=(8, 16, 32), skips={1: ["gate", "spatial"]}).attention("skips")
        {1: ['gate', 'spatial']}
    """

    dims: int = 3
    in_channels: int = 1
    out_channels: int = 2
    channels: Sequence[int] = WIDTHS
    strides: Sequence[Sizes] | None = None
    kernels: Sequence[Sizes] | None = None
    block: str = "plain"
    convs: int = 2
    decoder_convs: int = 2
    norm: str | None = None
    deep_supervision: bool = True
    skips: AttentionByLevel = "gate"
    encoder: AttentionByLevel = "identity"
    decoder: AttentionByLevel = "identity"
    bottleneck: Spec = "identity"
    inputs: Spec = "identity"
    levels: Sequence[int] | None = None
    init: Init = "open"

    def __post_init__(self) -> None:
        depth = len(self.channels)
        if self.dims not in CONV:
            raise ValueError(f"dims must be 2 or 3, got {self.dims!r}")
        if self.block not in BLOCKS:
            raise ValueError(f"no block is called {self.block!r}; there are {', '.join(BLOCKS)}")
        if self.norm not in (None, *NORMS):
            raise ValueError(f"no normalisation is called {self.norm!r}; there are {', '.join(NORMS)}")
        if min(self.convs, self.decoder_convs) < 1:
            raise ValueError(f"blocks need at least one convolution, got {self.convs} and {self.decoder_convs}")
        if depth < 2:
            raise ValueError(f"channels must name at least two levels, got {list(self.channels)}")
        if len(self.steps) != depth - 1 or len(self.kernel_sizes) != depth:
            raise ValueError(
                f"{depth} levels of channels need {depth - 1} strides and {depth} kernels, "
                f"got {len(self.steps)} and {len(self.kernel_sizes)}"
            )
        counts = [self.in_channels, self.out_channels, *self.channels, *(n for step in self.steps for n in step)]
        if min(counts) < 1:
            raise ValueError(
                f"channels and strides must be at least 1, got in_channels {self.in_channels}, out_channels "
                f"{self.out_channels}, channels {list(self.channels)}, strides {self.strides}"
            )
        if any(k % 2 == 0 for size in self.kernel_sizes for k in size):
            raise ValueError(f"kernels must be odd, or the grid would shift, got {self.kernels}")
        levels = range(depth) if self.levels is None else self.levels
        if not list(levels) or any(level not in range(depth) for level in levels):
            raise ValueError(
                f"levels are {list(levels)}: expected some of 0 to {depth - 1}, the levels of this network"
            )
        for place in ("skips", "encoder", "decoder"):
            self.attention(place)

    @property
    def steps(self) -> list[tuple[int, ...]]:
        """The stride of each level below the finest, one number per axis."""
        strides = [2] * (len(self.channels) - 1) if self.strides is None else self.strides
        return [per_axis(stride, self.dims) for stride in strides]

    @property
    def kernel_sizes(self) -> list[tuple[int, ...]]:
        """The kernel size of each level, one number per axis."""
        kernels = [3] * len(self.channels) if self.kernels is None else self.kernels
        return [per_axis(kernel, self.dims) for kernel in kernels]

    def attention(self, name: str) -> dict[int, Spec]:
        """Return the mechanism of each attended level of the "skips", the "encoder" or the "decoder".

        Raises:
            ValueError: if there is no such level, or a mechanism would be on no level.
        """
        spec, count = getattr(self, name), len(self.channels) - (name != "encoder")
        if spec == "identity":
            return {}
        if isinstance(spec, Mapping) and all(str(key).isdecimal() for key in spec):
            by_level = {int(key): value for key, value in spec.items()}
            absent = [level for level in by_level if level >= count]
            if absent:
                raise ValueError(f"{name} can have attention on levels 0 to {count - 1} of this network, got {absent}")
        else:
            # All but the finest, or the finest if it is the only one.
            levels = range(min(1, count - 1), count) if self.levels is None else sorted(self.levels)
            by_level = {level: spec for level in levels if level < count}
        if not by_level:
            raise ValueError(
                f"{name}: {spec!r} would be on no level of this network: expected some of 0 to {count - 1}, or "
                "identity for no attention"
            )
        return by_level

    def without_attention(self) -> "Architecture":
        """Return the same architecture without attention."""
        none: Spec = "identity"
        return replace(self, skips=none, encoder=none, decoder=none, bottleneck=none, inputs=none)

    def place(self, level: int, classes: int | None = None) -> Place:
        """Return what attention at a level is built for; ``classes``: how many it may learn the presence of."""
        gate = min(level + 1, len(self.channels) - 1)
        return Place(self.dims, self.channels[level], self.channels[gate], self.steps[gate - 1], self.init, classes)

    def describe_attention(self) -> str:
        """Return the attention at each place as text, by level where it has several; 0 is the finest."""
        places: dict[str, object] = {
            name: self.attention(name) or "identity" for name in ("skips", "encoder", "decoder")
        }
        places["bottleneck"] = self.bottleneck
        if self.inputs != "identity":
            places["inputs"] = self.inputs
        return "; ".join(f"{name} {json.dumps(spec)}".replace('"', "") for name, spec in places.items())


@contextmanager
def named(place: str) -> Iterator[None]:
    """Add the name of the place to errors."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
