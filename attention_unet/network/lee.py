"""The attention U-Net that most public code has, for comparison and for its weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attention_unet.attention import Attended, Identity, Place
from attention_unet.attention.spatial.lee_gate import LeeGate
from attention_unet.layers.dimensions import CONV, TRANSPOSED_CONV, crop_to
from attention_unet.layers.normalization import BatchNorm, InstanceNorm
from attention_unet.network.unet import Decoded, UNet


class LeeAttentionUNet(UNet):
    """``monai.networks.nets.AttentionUnet``, after Lee's code, with maps and any input size.

    Unlike Oktay et al. 2018 every skip is gated, the finest too; the gating signal is the decoder's after upsampling,
    on the skip's own grid; everything but the merge in the decoder is normalised over the batch; gates start half open.

    ``channels`` has the features of each level, finest first; each level halves the grid.
    """

    def __init__(self, dims: int, in_channels: int, out_channels: int, channels: Sequence[int]) -> None:
        inputs = [in_channels, *channels]
        super().__init__(
            inputs=Identity(),
            encoder=[
                LeeBlock(
                    nn.Sequential(
                        _conv(dims, inputs[i], channels[i], stride=1 if i == 0 else 2),
                        _conv(dims, channels[i], channels[i]),
                    )
                )
                for i in range(len(channels))
            ],
            bottleneck=Identity(),
            decoder=[LeeDecoderLevel(dims, channels[i + 1], channels[i]) for i in reversed(range(len(channels) - 1))],
            heads=[CONV[dims](channels[0], out_channels, kernel_size=1)],
        )


class LeeBlock(nn.Module):
    """Convolutions without attention, as a block of a ``UNet``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.attention = body, Identity()

    def forward(self, x: Tensor, with_map: bool = False) -> Attended:
        """(B, C, *S) to the features of the body; no weights."""
        return Attended(self.body(x), None)


class LeeDecoderLevel(nn.Module):
    """Upsample, gate the skip by the result, join both, convolve once."""

    def __init__(self, dims: int, coarse: int, skip: int) -> None:
        super().__init__()
        up = TRANSPOSED_CONV[dims](coarse, skip, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.up = nn.Sequential(up, BatchNorm(skip), nn.ReLU())
        self.attention = LeeGate(Place(dims, skip, skip, init="paper"))
        merge = CONV[dims](2 * skip, skip, kernel_size=3, padding=1)
        self.block = LeeBlock(nn.Sequential(merge, InstanceNorm(skip, affine=False), nn.PReLU()))

    def forward(self, coarse: Tensor, skip: Tensor, with_map: bool = False) -> Decoded:
        """(B, coarse, *ceil(S / 2)) and (B, skip, *S) to (B, skip, *S) and the weights on the skip."""
        signal = crop_to(self.up(coarse), skip)
        features, weights = self.attention(skip, signal, with_map)
        return self.block(torch.cat([features, signal], dim=1)).features, weights, None


def _conv(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    conv = CONV[dims](inputs, outputs, kernel_size=3, stride=stride, padding=1)
    return nn.Sequential(conv, BatchNorm(outputs), nn.ReLU())
