"""Build the attention U-Net: its blocks, and the attention at each place."""

from collections.abc import Sequence
from typing import Any

from attention_unet.attention import Attention, Init, Place, Spec, build_at
from attention_unet.layers.dimensions import CONV
from attention_unet.network.blocks import Block, DecoderLevel, build_without_gate, upsampling, weighs_channels
from attention_unet.network.specification import AttentionByLevel, Sizes, by_level, check_sizes, is_encoding, named
from attention_unet.network.unet import UNet

WIDTHS = (16, 32, 64, 128)


class AttentionUNet(UNet):
    """U-Net of Ronneberger et al. (MICCAI 2015) with attention on its skips, as in Oktay et al. (MIDL 2018), in its
    blocks, or at its bottleneck.

    Name a mechanism; a list of names is applied in sequence; a mapping wraps, such as ``{"parallel": ["se", "sse"]}``;
    "identity" is no attention. A mapping from levels names a mechanism for each level.

    Args:
        dims: 2 or 3 spatial dimensions.
        in_channels: image channels.
        out_channels: channels of the logits: background and classes, or one per class if classes overlap.
        channels: features of each level, finest first.
        strides: stride of each level below the finest, one value or one per axis; default 2.
        kernels: kernel size of each level, one value or one per axis; default 3.
        block: "plain" or "residual".
        convs: convolutions of each block of the encoder.
        decoder_convs: convolutions of each block of the decoder.
        skips: attention on the skips.
        encoder: attention in the encoder's blocks.
        decoder: attention in the decoder's blocks.
        bottleneck: attention after the coarsest block.
        levels: levels with attention, for skips, encoder and decoder that do not name levels; None: all but the finest.
            The coarsest level has an encoder block only.
        init: attention starts "open", as the identity or near it, or as in the "paper".
        deep_supervision: in training mode, return logits of every decoder level but the coarsest.

    Raises:
        ValueError: if an argument is not one of the choices, or lists have different lengths.
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
        step, kernel = check_sizes(dims, channels, strides, kernels, block)
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
            # JSON files have text as keys.
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
        """The variant of most public code, in MONAI's form: see ``LeeAttentionUNet``."""
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
