"""Second-order pooling: channel weights from the covariance of the channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Init, broadcast_channels, open_up
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import InstanceNorm


class SecondOrderPooling(Attention):
    """GSoP, channel form (Gao, Xie, Wang, Li, "Global Second-order Pooling Convolutional Networks", CVPR 2019)::

        u = relu(norm(W1 relu(x))),  Sigma = cov_n(u),  s = sigmoid(W3 (rows of norm(Sigma)) * W2),  y = s * x

    u has c channels and Sigma is c x c. W2 turns each row of Sigma into four numbers, and W3 the 4c numbers into C
    weights, as in the authors' code. Instance normalisation replaces their normalisation over the batch.

    Args:
        dims: 2 or 3 spatial dimensions.
        channels: channels C of x.
        init: "paper" keeps torch's initial values; "open" starts at weights of about 0.95.
    """

    kind: str = "channel"

    def __init__(self, dims: int, channels: int, init: Init = "open") -> None:
        super().__init__()
        width = min(channels, {2: 128, 3: 64}[dims])
        self.reduce = CONV[dims](channels, width, kernel_size=1)
        self.norm = InstanceNorm(width)
        self.row_norm = InstanceNorm(width)
        self.rows = nn.Conv1d(width, 4 * width, kernel_size=width, groups=width)
        self.expand = nn.Linear(4 * width, channels)
        if init == "open":
            open_up(self.expand)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, 1, ...) in (0, 1)."""
        covariance = self.covariance(x)
        rows = self.rows(self.row_norm(covariance)).flatten(1)
        weights = broadcast_channels(torch.sigmoid(self.expand(rows)), x)
        return Attended(x * weights, weights)

    def covariance(self, x: Tensor) -> Tensor:
        """Return the covariance (B, c, c) over the voxels of the reduced ``x`` (B, C, *S)."""
        reduced = F.relu(self.norm(self.reduce(F.relu(x)))).flatten(2)
        centred = reduced - reduced.mean(dim=2, keepdim=True)
        return centred @ centred.transpose(1, 2) / centred.shape[2]
