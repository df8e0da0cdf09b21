"""The attention U-Net: an encoder, a decoder, and on every skip between them an attention mechanism.

Levels count from 0, the finest. Tensors are (B, C, *S). Any input size works: strided convolutions round grids up,
and the decoder cuts its upsampled features to the grid of the skip.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # not in its __all__

from attention_unet.attention import build
from attention_unet.dimensions import CONV, TRANSPOSED_CONV, per_axis

Sizes = int | Sequence[int]


class InstanceNorm(nn.GroupNorm):
    """Instance normalisation: every channel of every case by its own mean and variance.

    Written as group normalisation with a group a channel, without torch's refusal of grids of one voxel, which deep
    levels of small inputs reach.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class ConvNorm(nn.Sequential):
    """Convolution that keeps the grid (or divides it by the stride, rounding up), then instance normalisation."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        conv = CONV[dims](inputs, outputs, kernel, stride, padding=tuple(k // 2 for k in kernel), bias=False)
        nn.init.kaiming_normal_(conv.weight, a=0.01)
        super().__init__(conv, InstanceNorm(outputs))


class PlainBlock(nn.Module):
    """Convolution, normalisation, leaky ReLU, as often as asked; the stride is in the first."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...], convs: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(convs):
            first = i == 0
            layers += [
                ConvNorm(dims, inputs if first else outputs, outputs, kernel, stride if first else (1,) * dims),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *S) to (B, outputs, *ceil(S / stride))."""
        return self.layers(x)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Residual block of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with instance norm."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...], convs: int
    ) -> None:
        super().__init__()
        body: list[nn.Module] = [ConvNorm(dims, inputs, outputs, kernel, stride)]
        for _ in range(convs - 1):
            body += [nn.LeakyReLU(0.01, inplace=True), ConvNorm(dims, outputs, outputs, kernel, (1,) * dims)]
        self.body = nn.Sequential(*body)
        same = inputs == outputs and set(stride) == {1}
        self.shortcut = nn.Identity() if same else ConvNorm(dims, inputs, outputs, (1,) * dims, stride)
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *S) to (B, outputs, *ceil(S / stride))."""
        return self.activation(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


BLOCKS: dict[str, type[PlainBlock] | type[ResidualBlock]] = {"plain": PlainBlock, "residual": ResidualBlock}


class DecoderLevel(nn.Module):
    """Bring the coarser features to the skip's grid, join both, convolve."""

    def __init__(
        self,
        block: str,
        dims: int,
        coarse: int,
        skip: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        convs: int,
    ) -> None:
        super().__init__()
        self.up = TRANSPOSED_CONV[dims](coarse, skip, kernel_size=stride, stride=stride, bias=False)
        nn.init.kaiming_normal_(self.up.weight, a=0.01)
        self.block = BLOCKS[block](dims, 2 * skip, skip, kernel, (1,) * dims, convs)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, coarse, *ceil(S / stride)) and (B, skip, *S) to (B, skip, *S)."""
        upsampled = self.up(coarse)
        for axis in range(2, skip.dim()):
            upsampled = upsampled.narrow(axis, 0, skip.size(axis))
        return self.block(torch.cat([upsampled, skip], dim=1))  # type: ignore[no-any-return]


class AttentionUNet(nn.Module):
    """U-Net of Ronneberger et al. (MICCAI 2015) with attention on its skips, as in Oktay et al. (MIDL 2018).

    Args:
        dims: 2 or 3 spatial dimensions.
        in_channels: image channels.
        out_channels: channels of the logits: background and classes, or one a class where classes overlap.
        channels: features of each level, finest first.
        strides: step from the level above to each level below the finest, one value or one an axis; 2 if not given.
        kernels: kernel of each level's convolutions, one value or one an axis; 3 if not given.
        block: "plain" or "residual".
        convs: convolutions of each block.
        skips: attention on the skips, by name; a list of names is applied in sequence; "identity" for none.
        levels: levels whose skip is attended; all but the finest and the coarsest (which has no skip) if None.
        deep_supervision: give logits of every decoder level but the coarsest in training mode.

    Raises:
        ValueError: if an argument is not among the choices, or lists are of different lengths.
    """

    def __init__(
        self,
        dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (16, 32, 64, 128),
        strides: Sequence[Sizes] | None = None,
        kernels: Sequence[Sizes] | None = None,
        block: str = "plain",
        convs: int = 2,
        skips: str | Sequence[str] = "gate",
        levels: Sequence[int] | None = None,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
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
        attended = list(range(1, depth - 1)) if levels is None else sorted(levels)
        if any(level not in range(depth - 1) for level in attended):
            raise ValueError(f"skips lie on levels 0 to {depth - 2}, got attention levels {attended}")
        step = [per_axis(s if isinstance(s, int) else tuple(s), dims) for s in strides]
        kernel = [per_axis(k if isinstance(k, int) else tuple(k), dims) for k in kernels]

        # All it takes to build this network again: plain values, saved beside the weights.
        self.architecture: dict[str, Any] = {
            "dims": dims,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": list(channels),
            "strides": [list(s) for s in step],
            "kernels": [list(k) for k in kernel],
            "block": block,
            "convs": convs,
            "skips": skips if isinstance(skips, str) else list(skips),
            "levels": attended,
            "deep_supervision": deep_supervision,
        }
        self.deep_supervision = deep_supervision
        steps_down = [(1,) * dims, *step]
        inputs = [in_channels, *channels]
        self.encoder = nn.ModuleList(
            BLOCKS[block](dims, inputs[i], channels[i], kernel[i], steps_down[i], convs) for i in range(depth)
        )
        # Decoder and skips run coarse to fine: entry 0 serves level depth - 2.
        self.skips = nn.ModuleList(
            build(
                skips if i in attended else "identity",
                dims=dims,
                channels=channels[i],
                gate_channels=channels[i + 1],
                stride=step[i],
            )
            for i in reversed(range(depth - 1))
        )
        self.decoder = nn.ModuleList(
            DecoderLevel(block, dims, channels[i + 1], channels[i], kernel[i], step[i], convs)
            for i in reversed(range(depth - 1))
        )
        heads = range(depth - 2, -1, -1) if deep_supervision and depth > 2 else range(1)
        self.heads = nn.ModuleList(CONV[dims](channels[i], out_channels, kernel_size=1) for i in heads)

    def forward(self, x: Tensor, return_maps: bool = False) -> Any:
        """Logits of an image.

        Args:
            x: image (B, in_channels, *S), any size.
            return_maps: also return the attention maps.

        Returns:
            Logits (B, out_channels, *S). In training mode with deep supervision a list of them, finest first, each on
            the grid of its level. With ``return_maps`` a pair of these and a dict from level to weights as applied.
        """
        logits, maps = self.logits_and_maps(x)
        if is_scripting():  # a scripted function has one return type: the logits
            return logits[0]
        result = logits if self.training and self.deep_supervision else logits[0]
        return (result, maps) if return_maps else result

    def logits_and_maps(self, x: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        """Logits of the supervised levels, finest first, and the attention weights by level."""
        skips: list[Tensor] = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        maps: dict[int, Tensor] = {}
        decoded: list[Tensor] = []
        finest = len(skips) - 2
        for i, (attention, decode) in enumerate(zip(self.skips, self.decoder)):  # noqa: B905  # TorchScript knows no strict
            features, weights = attention(skips[finest - i], x)
            if weights is not None:
                maps[finest - i] = weights
            x = decode(x, features)
            decoded.append(x)
        unheaded = len(decoded) - len(self.heads)
        logits: list[Tensor] = []
        for i, head in enumerate(self.heads):
            if self.training or i == len(self.heads) - 1:
                logits.insert(0, head(decoded[unheaded + i]))
        return logits, maps
