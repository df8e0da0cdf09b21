"""The blocks of the U-Net."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from attention_unet.attention import Attended, Attention, Identity, Place, Spec, build_at
from attention_unet.layers.dimensions import CONV, TRANSPOSED_CONV, crop_to
from attention_unet.layers.normalization import EightChannelNorm, InstanceNorm, Norm
from attention_unet.network.unet import Decoded

Sizes = tuple[int, ...]


class ConvNorm(nn.Sequential):
    """Convolution that keeps the grid (or divides it by the stride, rounding up), then normalisation."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: Sizes, stride: Sizes, norm: Norm) -> None:
        conv = CONV[dims](inputs, outputs, kernel, stride, padding=tuple(k // 2 for k in kernel), bias=False)
        nn.init.kaiming_normal_(conv.weight, a=0.01)
        super().__init__(conv, norm(outputs))


class FeaturesOf(nn.Module):
    """Attention that returns its features only."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """(B, C, *S) to (B, C, *S)."""
        return self.attention(x, gate).features


class Block(nn.Module):
    """Convolution, normalisation and leaky ReLU, ``convs`` times; the first convolution has the stride.

    A residual block (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016) adds its input before the
    last leaky ReLU. Attention is after the last normalisation, before that addition, as in the papers that put it
    into residual blocks; ``gct`` is before each convolution, as published.

    Normalisation is ``norm``. If it is None: by instance, or by groups of eight channels if attention in the block
    weights channels.

    ``kernel`` and ``stride`` have one number per axis, ``place`` has the channels of the output. Raise ValueError if
    the attention needs a gating signal.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes,
        convs: int,
        residual: bool,
        attention: Spec,
        place: Place,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        attended = build_without_gate(attention, place)
        norm = norm or (EightChannelNorm if weighs_channels(attended) else InstanceNorm)
        layers: list[nn.Module] = []
        for i in range(convs):
            channels = inputs if i == 0 else outputs
            if i > 0:
                layers.append(nn.LeakyReLU(0.01, inplace=True))
            if attended.before_convolution:
                layers.append(FeaturesOf(build_at(attention, replace(place, channels=channels))))
            layers.append(ConvNorm(dims, channels, outputs, kernel, stride if i == 0 else (1,) * dims, norm))
        self.body = nn.Sequential(*layers)
        self.attention = Identity() if attended.before_convolution else attended
        self.residual = residual
        same = not residual or (inputs == outputs and set(stride) == {1})
        self.shortcut = nn.Identity() if same else ConvNorm(dims, inputs, outputs, (1,) * dims, stride, norm)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor, with_map: bool = False) -> Attended:
        """(B, inputs, *S) to features (B, outputs, *ceil(S / stride)) and the weights of the attention."""
        y, weights = self.attention(self.body(x), None, with_map)
        if self.residual:
            y = y + self.shortcut(x)
        return Attended(self.activation(y), weights)


class DecoderLevel(nn.Module):
    """Apply attention to the skip, upsample the coarser features, concatenate both, convolve.

    The coarser features are the gating signal of the attention. ``up`` gives a grid at least as large as the skip's;
    ``block`` takes twice the channels of the skip.
    """

    def __init__(self, up: nn.Module, attention: Attention, block: nn.Module) -> None:
        super().__init__()
        self.up, self.attention, self.block = up, attention, block

    def forward(self, coarse: Tensor, skip: Tensor, with_map: bool = False) -> Decoded:
        """(B, Cg, *ceil(S / stride)) and (B, C, *S) to features (B, C, *S) and the weights on skip and in block."""
        attended, on_skip = self.attention(skip, coarse, with_map)
        features, in_block = self.block(torch.cat([crop_to(self.up(coarse), skip), attended], dim=1), with_map)
        return features, on_skip, in_block


def upsampling(dims: int, inputs: int, outputs: int, stride: Sizes) -> nn.Module:
    """Return a transposed convolution to a grid that is finer by the stride."""
    up = TRANSPOSED_CONV[dims](inputs, outputs, kernel_size=stride, stride=stride, bias=False)
    nn.init.kaiming_normal_(up.weight, a=0.01)
    return up


def weighs_channels(attention: Attention) -> bool:
    """Return whether attention computes a weight for each channel. Several kinds at one place count as such."""
    return attention.kind in ("channel", "mixed", "kernel")


def build_without_gate(spec: Spec, place: Place) -> Attention:
    """Build attention for a place without gating signal. Raise ValueError if the mechanism needs one."""
    built = build_at(spec, place)
    if built.needs_gate:
        raise ValueError(f"attention {spec!r} needs the decoder's coarser signal, which only skips have: put it there")
    return built
