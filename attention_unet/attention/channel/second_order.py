"""Second-order pooling: channel weights from the covariance of the channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, apply_weights, open_up
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import EightChannelNorm


class SecondOrderPooling(Attention):
    """GSoP, channel form (Gao, Xie, Wang, Li, "Global Second-order Pooling Convolutional Networks", CVPR 2019)::

        u = relu(norm(W1 relu(x))),  Sigma = cov_n(u),  s = sigmoid(W3 (rows of norm(Sigma)) * W2),  y = s * x

    u has c channels and Sigma is c x c. W2 turns each row of Sigma into four numbers, and W3 the 4c numbers into C
    weights, as in the authors' code. Normalisation in groups of eight channels replaces theirs over the batch:
    instance normalisation would make Sigma a correlation matrix.

    Args:
        width: c; if None the smaller of C and 128, or in 3-D 64.
    """

    kind: str = "channel"

    def __init__(self, place: Place, *, width: int | None = None) -> None:
        super().__init__()
        channels = place.channels
        width = width or min(channels, {2: 128, 3: 64}[place.dims])
        self.reduce = CONV[place.dims](channels, width, kernel_size=1)
        self.norm = EightChannelNorm(width)
        self.row_norm = EightChannelNorm(width)
        self.rows = nn.Conv1d(width, 4 * width, kernel_size=width, groups=width)
        self.expand = nn.Linear(4 * width, channels)
        if place.open:
            open_up(self.expand)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        covariance = self.covariance(x)
        rows = self.rows(self.row_norm(covariance)).flatten(1)
        return apply_weights(x, torch.sigmoid(self.expand(rows)))

    def covariance(self, x: Tensor) -> Tensor:
        """Return the covariance (B, c, c) over the voxels of the reduced ``x`` (B, C, *S)."""
        reduced = F.relu(self.norm(self.reduce(F.relu(x)))).flatten(2)
        centred = reduced - reduced.mean(dim=2, keepdim=True)
        return centred @ centred.transpose(1, 2) / centred.shape[2]
