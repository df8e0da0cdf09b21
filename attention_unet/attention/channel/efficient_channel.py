"""Efficient channel attention: the weight of a channel from the means of its neighbours in channel order."""

import math

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, odd, open_up


class EfficientChannelAttention(Attention):
    """ECA (Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020)::

        s = sigmoid(conv1d_k(mean_n x)),  y = s * x

    The convolution runs along the channel axis. The order of the channels has only the meaning that training gives it.

    Args:
        place: where it sits; the "paper" start has no bias, the open one adds it.
        kernel: channels that a weight sees, an odd number; if None the paper's rule, ``adaptive_kernel``.
    """

    kind: str = "channel"

    def __init__(self, place: Place, *, kernel: int | None = None) -> None:
        super().__init__()
        width = odd(kernel or adaptive_kernel(place.channels))
        self.conv = nn.Conv1d(1, 1, width, padding=width // 2, bias=place.open)
        if place.open:
            open_up(self.conv)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        squeezed = x.flatten(2).mean(dim=2)
        return apply_weights(x, torch.sigmoid(self.conv(squeezed[:, None])[:, 0]))


def adaptive_kernel(channels: int) -> int:
    """Return the odd number nearest to (log2(C) + 1) / 2, at least 3: the paper's rule with gamma = 2 and b = 1."""
    k = int((math.log2(channels) + 1) / 2)
    return max(k if k % 2 else k + 1, 3)
