"""Squeeze and excitation: channel weights from a small network that sees the mean of each channel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import OPEN_BIAS, Attended, Attention, Init, broadcast_channels, open_up


class SqueezeExcitation(Attention):
    """Squeeze and excitation (Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018)::

        z = mean_n x,  s = sigmoid(W2 relu(W1 z + b1) + b2),  y = s * x

    With ``maximum`` it is the channel part of CBAM (Woo et al., ECCV 2018): the same small network also sees the
    maximum of each channel, and both outputs are added before the sigmoid.

    Args:
        channels: channels C of x.
        reduction: C over the hidden channels of the small network, which has at least the smaller of 8 and C.
        maximum: use the maximum over the voxels too.
        init: "paper" keeps torch's initial values; "open" starts at weights of about 0.95.
    """

    kind: str = "channel"

    def __init__(self, channels: int, reduction: int = 16, maximum: bool = False, init: Init = "open") -> None:
        super().__init__()
        hidden = max(channels // reduction, min(channels, 8))
        self.maximum = maximum
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)
        if init == "open":
            open_up(self.expand)
            if maximum:  # the bias is added twice
                nn.init.constant_(self.expand.bias, OPEN_BIAS / 2)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        voxels = x.flatten(2)
        logits = self._excite(voxels.mean(dim=2))
        if self.maximum:
            logits = logits + self._excite(voxels.amax(dim=2))
        weights = broadcast_channels(torch.sigmoid(logits), x)
        return Attended(x * weights, weights)

    def _excite(self, squeezed: Tensor) -> Tensor:
        result: Tensor = self.expand(F.relu(self.reduce(squeezed)))
        return result
