"""Squeeze and excitation: the weight of a channel from the means of all channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import (
    OPEN_BIAS,
    Attended,
    Attention,
    Place,
    apply_weights,
    hidden_channels,
    open_up,
)


class SqueezeExcitation(Attention):
    """Squeeze and excitation (Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018)::

        z = mean_n x,  s = sigmoid(W2 relu(W1 z + b1) + b2),  y = s * x

    Args:
        reduction: C over the hidden channels, as in ``hidden_channels``.
    """

    kind: str = "channel"

    def __init__(self, place: Place, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = hidden_channels(place, reduction)
        self.reduce = nn.Linear(place.channels, hidden)
        self.expand = nn.Linear(hidden, place.channels)
        if place.open:
            open_up(self.expand)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        return apply_weights(x, torch.sigmoid(self.logits(x.flatten(2))))

    def logits(self, voxels: Tensor) -> Tensor:
        """Return the input (B, C) of the sigmoid from features (B, C, N)."""
        return self.excite(voxels.mean(dim=2))

    def excite(self, squeezed: Tensor) -> Tensor:
        """Apply the small network to one number per channel, (B, C)."""
        return self.expand(F.relu(self.reduce(squeezed)))


class MeanMaximumExcitation(SqueezeExcitation):
    """Channel part of CBAM (Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018)::

        s = sigmoid(f(mean_n x) + f(max_n x)),  f(z) = W2 relu(W1 z + b1) + b2,  y = s * x

    Args:
        reduction: C over the hidden channels, as in ``hidden_channels``.
    """

    def __init__(self, place: Place, *, reduction: int = 16) -> None:
        super().__init__(place, reduction=reduction)
        if place.open:
            nn.init.constant_(self.expand.bias, OPEN_BIAS / 2)  # it is added twice

    def logits(self, voxels: Tensor) -> Tensor:
        """Return the input (B, C) of the sigmoid from features (B, C, N)."""
        return self.excite(voxels.mean(dim=2)) + self.excite(voxels.amax(dim=2))
