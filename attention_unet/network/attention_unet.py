"""Build the attention U-Net: its blocks, and the attention at each place."""

from collections.abc import Sequence
from typing import Any

from attention_unet.attention import Attention, Place, build_at
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import NORMS, Norm
from attention_unet.network.architecture import WIDTHS, Architecture, named
from attention_unet.network.blocks import Block, DecoderLevel, build_without_gate, upsampling, weighs_channels
from attention_unet.network.lee import LeeAttentionUNet
from attention_unet.network.unet import UNet


class AttentionUNet(UNet):
    """U-Net of Ronneberger et al. (MICCAI 2015) with attention on its skips, as in Oktay et al. (MIDL 2018), in its
    blocks, at its bottleneck, or on the image.

    Args:
        architecture: sizes of the levels, and the attention at each place.

    Raises:
        ValueError: if there is no such mechanism, or a mechanism needs a gating signal that its place does not have.

    Example:
        >>> network = AttentionUNet(Architecture(dims=2, out_channels=3, skips=["gate", "spatial"], encoder="se"))
        >>> network(torch.randn(1, 1, 37, 50)).shape
        torch.Size([1, 3, 37, 50])
    """

    def __init__(self, architecture: Architecture) -> None:
        a = architecture
        deepest, steps, kernels = len(a.channels) - 1, a.steps, a.kernel_sizes

        def on_skip(level: int) -> Attention:
            with named(f"skips, level {level}"):
                return build_at(a.attention("skips").get(level, "identity"), a.place(level, a.out_channels))

        skips = [on_skip(level) for level in range(deepest)]
        with named("bottleneck"):
            bottleneck = build_without_gate(a.bottleneck, a.place(deepest, a.out_channels))

        with named("inputs"):
            image = Place(a.dims, a.in_channels, a.in_channels, init=a.init)
            inputs_attention = build_without_gate(a.inputs, image)

        def block(name: str, level: int, inputs: int, stride: tuple[int, ...], norm: Norm | None) -> Block:
            convs = a.convs if name == "encoder" else a.decoder_convs
            sizes = a.dims, inputs, a.channels[level], kernels[level], stride, convs, a.block == "residual"
            with named(f"{name}, level {level}"):
                return Block(*sizes, a.attention(name).get(level, "identity"), a.place(level), norm)

        unit = (1,) * a.dims
        inputs, strides = [a.in_channels, *a.channels], [unit, *steps]
        chosen = NORMS[a.norm] if a.norm else None
        after = [chosen or (NORMS["group"] if weighs_channels(each) else None) for each in (*skips, bottleneck)]
        super().__init__(
            inputs=inputs_attention,
            encoder=[block("encoder", i, inputs[i], strides[i], after[i]) for i in range(deepest + 1)],
            bottleneck=bottleneck,
            decoder=[
                DecoderLevel(
                    upsampling(a.dims, a.channels[i + 1], a.channels[i], steps[i]),
                    skips[i],
                    block("decoder", i, 2 * a.channels[i], unit, chosen),
                )
                for i in reversed(range(deepest))
            ],
            heads=[
                CONV[a.dims](a.channels[i], a.out_channels, kernel_size=1)
                for i in (range(deepest - 1, -1, -1) if a.deep_supervision else range(1))
            ],
        )
        self.architecture = architecture

    @classmethod
    def unet(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS
    ) -> "AttentionUNet":
        """A U-Net without attention: the control."""
        return cls(Architecture(dims, in_channels, out_channels, channels, skips="identity"))

    @classmethod
    def oktay2018(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = (*WIDTHS, 256)
    ) -> "AttentionUNet":
        """Oktay et al. 2018: additive gates, fed by the next coarser decoder level, on all skips but the finest; five
        levels, deep supervision, gates that start open. Instance normalisation stands for that over the batch.
        """
        return cls(Architecture(dims, in_channels, out_channels, channels, skips="gate"))

    @classmethod
    def cbam(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS
    ) -> "AttentionUNet":
        """Put CBAM (Woo et al. 2018) into every residual block, before its addition, as published; plain skips."""
        return cls._in_blocks("cbam", "residual", dims, in_channels, out_channels, channels)

    @classmethod
    def scse(
        cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS
    ) -> "AttentionUNet":
        """Put scSE (Roy et al. 2019) into every block, as published; plain skips."""
        return cls._in_blocks("scse", "plain", dims, in_channels, out_channels, channels)

    @classmethod
    def lee(cls, dims: int = 3, in_channels: int = 1, out_channels: int = 2, channels: Sequence[int] = WIDTHS) -> UNet:
        """The variant of most public code, in MONAI's form: see ``LeeAttentionUNet``."""
        return LeeAttentionUNet(dims, in_channels, out_channels, channels)

    @classmethod
    def _in_blocks(cls, name: str, block: str, *sizes: Any) -> "AttentionUNet":
        how: dict[str, Any] = {"block": block, "skips": "identity", "init": "paper"}
        how |= {"encoder": name, "decoder": name, "levels": list(range(len(sizes[-1])))}
        return cls(Architecture(*sizes, **how))
