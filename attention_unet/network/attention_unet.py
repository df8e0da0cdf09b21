"""The attention U-Net: which blocks, and which attention where."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attention_unet.attention import Attention, Init, Place, Spec, build_at
from attention_unet.layers.dimensions import CONV, per_axis
from attention_unet.network.blocks import Block, DecoderLevel, build_without_gate, upsampling, weighs_channels
from attention_unet.network.unet import UNet

Sizes = int | Sequence[int]
BLOCKS = ("plain", "residual")
PLACES = ("skips", "encoder", "decoder", "bottleneck")  # of attention
WIDTHS = (16, 32, 64, 128)

# A mechanism for all attended levels, or one for each level that is named: {1: "gate", 2: "cross"}.
AttentionByLevel = Spec | Mapping[int, Spec]


class AttentionUNet(UNet):
    """U-Net of Ronneberger et al. (MICCAI 2015) with attention on its skips, as in Oktay et al. (MIDL 2018), or in its
    blocks or at its bottleneck.

    A mechanism is given by its name; a list of names is applied in sequence; a mapping wraps, such as
    ``{"parallel": ["se", "sse"]}``; "identity" is none. A mapping from levels gives each its own.

    Args:
        dims: 2 or 3 spatial dimensions.
        in_channels: image channels.
        out_channels: channels of the logits: background and classes, or one a class where classes overlap.
        channels: features of each level, finest first.
        strides: step from the level above to each level below the finest, one value or one an axis; 2 if not given.
        kernels: kernel of each level's convolutions, one value or one an axis; 3 if not given.
        block: "plain" or "residual".
        convs: convolutions of each block of the encoder.
        decoder_convs: convolutions of each block of the decoder.
        skips: attention on the skips.
        encoder: attention in the encoder's blocks.
        decoder: attention in the decoder's blocks.
        bottleneck: attention after the coarsest block.
        levels: where skips, encoder and decoder are attended, unless they name levels themselves; all but the finest
            if None. The coarsest level has a block of the encoder only.
        init: attention starts "open", as the identity or near it, or as in the "paper".
        deep_supervision: give logits of every decoder level but the coarsest in training mode.

    Raises:
        ValueError: if an argument is not among the choices, or lists are of different lengths.
    """

    def __init__(
        self,
        dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = WIDTHS,
        strides: Sequence[Sizes] | None = None,
        kernels: Sequence[Sizes] | None = None,
        block: str = "plain",
        convs: int = 2,
        decoder_convs: int = 2,
        skips: AttentionByLevel = "gate",
        encoder: AttentionByLevel = "identity",
        decoder: AttentionByLevel = "identity",
        bottleneck: Spec = "identity",
        levels: Sequence[int] | None = None,
        init: Init = "open",
        deep_supervision: bool = True,
    ) -> None:
        depth = len(channels)
        step, kernel = _check(dims, channels, strides, kernels, block)
        wanted = range(depth) if levels is None else levels
        if not list(wanted) or any(level not in range(depth) for level in wanted):
            raise ValueError(
                f"levels are {list(wanted)}: expected some of 0 to {depth - 1}, the levels of this network"
            )
        placed = {
            "skips": by_level(skips, levels, depth - 1, "skips"),
            "encoder": by_level(encoder, levels, depth, "encoder"),
            "decoder": by_level(decoder, levels, depth - 1, "decoder"),
        }
        architecture: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": list(channels),
            "strides": [list(s) for s in step],
            "kernels": [list(k) for k in kernel],
            "block": block,
            "convs": convs,
            "decoder_convs": decoder_convs,
            # Names of mappings are text in the files this is written to.
            **{
                name: {str(level): spec for level, spec in specs.items()} or "identity"
                for name, specs in placed.items()
            },
            "bottleneck": bottleneck,
            "init": init,
            "deep_supervision": deep_supervision,
        }

        def place(level: int, classes: int | None = None) -> Place:
            gate = min(level + 1, depth - 1)
            return Place(dims, channels[level], channels[gate], step[gate - 1], init, classes)

        def make_block(name: str, level: int, inputs: int, stride: tuple[int, ...], weighed: bool = False) -> Block:
            count = convs if name == "encoder" else decoder_convs
            of_level = dims, inputs, channels[level], kernel[level], stride, count, block == "residual"
            spec = placed[name].get(level, "identity")
            with named(f"{name}, level {level}"):
                return Block(*of_level, spec, place(level), weighed)

        def make_skip(level: int) -> Attention:
            spec = placed["skips"].get(level, "identity")
            with named(f"skips, level {level}"):
                return build_at(spec, place(level, out_channels if is_encoding(spec) else None))

        on_skips = [make_skip(i) for i in range(depth - 1)]
        with named("bottleneck"):
            classes = out_channels if is_encoding(bottleneck) else None
            on_bottleneck = build_without_gate(bottleneck, place(depth - 1, classes))
        after_encoder = [weighs_channels(attention) for attention in (*on_skips, on_bottleneck)]
        inputs, steps_down = [in_channels, *channels], [(1,) * dims, *step]
        super().__init__(
            encoder=[make_block("encoder", i, inputs[i], steps_down[i], after_encoder[i]) for i in range(depth)],
            bottleneck=on_bottleneck,
            decoder=[
                DecoderLevel(
                    upsampling(dims, channels[i + 1], channels[i], step[i]),
                    on_skips[i],
                    make_block("decoder", i, 2 * channels[i], (1,) * dims),
                )
                for i in reversed(range(depth - 1))
            ],
            heads=[
                CONV[dims](channels[i], out_channels, kernel_size=1)
                for i in (range(depth - 2, -1, -1) if deep_supervision and depth > 2 else range(1))
            ],
            architecture=architecture,
        )

    @classmethod
    def unet(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS
    ) -> "AttentionUNet":
        """A U-Net without attention: the control."""
        return cls(dims, in_channels, out_channels, channels, skips="identity")

    @classmethod
    def oktay2018(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = (*WIDTHS, 256)
    ) -> "AttentionUNet":
        """Oktay et al. 2018: additive gates, fed by the next coarser decoder level, on all skips but the finest; five
        levels, deep supervision, gates that start open. Instance normalisation stands for that over the batch.
        """
        return cls(dims, in_channels, out_channels, channels, skips="gate")

    @classmethod
    def cbam(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS
    ) -> "AttentionUNet":
        """Put CBAM (Woo et al. 2018) into every residual block, before its addition, as published; plain skips."""
        return cls._in_blocks("cbam", dims, in_channels, out_channels, channels, "residual")

    @classmethod
    def scse(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS
    ) -> "AttentionUNet":
        """Put scSE (Roy et al. 2018) into every block, as published; plain skips."""
        return cls._in_blocks("scse", dims, in_channels, out_channels, channels, "plain")

    @classmethod
    def lee(cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS) -> UNet:
        """The variant most public code has, in MONAI's form: see ``LeeAttentionUNet``."""
        from attention_unet.network.lee import LeeAttentionUNet

        return LeeAttentionUNet(dims, in_channels, out_channels, channels)

    @classmethod
    def _in_blocks(
        cls, name: str, dims: int, in_channels: int, out_channels: int, channels: Sequence[int], block: str
    ) -> "AttentionUNet":
        return cls(
            dims,
            in_channels,
            out_channels,
            channels,
            block=block,
            skips="identity",
            encoder=dict.fromkeys(range(len(channels)), name),
            decoder=dict.fromkeys(range(len(channels) - 1), name),
            init="paper",
        )


def by_level(spec: AttentionByLevel, levels: Sequence[int] | None, count: int, name: str) -> dict[int, Spec]:
    """What sits on which level.

    Args:
        spec: a mechanism for all ``levels``, or a mapping from levels, which then says it all.
        levels: all but the finest if None, unless that is the only one.
        count: number of levels there are at this place.
        name: of the place, for the error.

    Raises:
        ValueError: if there is no such level, or a mechanism would sit nowhere.
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
    """Whether a specification is context encoding alone; within others nobody would ask it for the classes."""
    return spec in ("encoding", ["encoding"])


def describe_attention(architecture: Mapping[str, Any]) -> str:
    """Where attention sits, as a configuration would say it."""
    return "; ".join(f"{place} {json.dumps(architecture[place])}".replace('"', "") for place in PLACES)


@contextmanager
def named(place: str) -> Iterator[None]:
    """Let an error say which place it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _check(
    dims: int,
    channels: Sequence[int],
    strides: Sequence[Sizes] | None,
    kernels: Sequence[Sizes] | None,
    block: str,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Strides and kernels of the levels, one number an axis."""
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
