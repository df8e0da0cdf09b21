"""Channel squeeze and spatial excitation: the weight of a voxel from a weighted sum of its channels."""

import torch
from torch import Tensor

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, open_up
from attention_unet.layers.dimensions import CONV


class ChannelSqueeze(Attention):
    """sSE (Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation ...", MICCAI 2018)::

        q = sigmoid(w^T x + b),  y = q * x

    with one weight q for each voxel.
    """

    kind: str = "spatial"

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.squeeze = CONV[place.dims](place.channels, 1, kernel_size=1)
        if place.open:
            open_up(self.squeeze)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, 1, *S) in (0, 1)."""
        return apply_weights(x, torch.sigmoid(self.squeeze(x)))
