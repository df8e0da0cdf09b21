"""Project and excite: weights from the means along each axis, for volumes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, hidden_channels, open_up
from attention_unet.layers.dimensions import CONV


class ProjectExcite(Attention):
    """Project and excite (Rickmann et al., "Recalibrating 3D ConvNets with Project & Excite", TMI 2020)::

        z = z_1 + ... + z_d,  s = sigmoid(W2 relu(W1 z + b1) + b2),  y = s * x

    with z_a the mean of x over all axes but a, repeated along those, and W 1 x 1 (x 1) convolutions.

    Args:
        reduction: C over the hidden channels, as in ``hidden_channels``.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, reduction: int = 2) -> None:
        super().__init__()
        hidden = hidden_channels(place, reduction)
        self.reduce = CONV[place.dims](place.channels, hidden, kernel_size=1)
        self.expand = CONV[place.dims](hidden, place.channels, kernel_size=1)
        if place.open:
            open_up(self.expand)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0, 1)."""
        axes = range(2, x.dim())
        means = [x.mean(dim=[other for other in axes if other != axis], keepdim=True) for axis in axes]
        projected = sum(means[1:], start=means[0])
        return apply_weights(x, torch.sigmoid(self.expand(F.relu(self.reduce(projected)))))
