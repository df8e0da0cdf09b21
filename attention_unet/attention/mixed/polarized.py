"""Polarised self-attention: channel weights at half the channels, spatial weights at full resolution."""

from typing import Literal

import torch
from torch import Tensor, nn

from attention_unet.attention.base import OPEN_BIAS, OPEN_STD, Attended, Attention, Place, broadcast_channels
from attention_unet.layers.dimensions import CONV


class PolarizedAttention(Attention):
    """Polarised self-attention (Liu, Liu, Fan, Huang, "Polarized Self-Attention", 2021, arXiv:2107.00782)::

        A_c = sigmoid(norm(W_z (V_c x softmax_n(q_c x)))),  A_s = sigmoid(softmax_c(mean_n Q_s x) . (V_s x)),
        y = A_c * x + A_s * x,  or  y = A_s(A_c * x) * A_c * x

    with V_c, Q_s and V_s to C / 2 channels, q_c to one, and the norm over channels. The open form adds a bias to the
    logits of A_s.

    Args:
        layout: "parallel" adds both results, "sequential" applies A_s to the result of A_c.
    """

    kind: str = "mixed"

    def __init__(self, place: Place, *, layout: Literal["parallel", "sequential"] = "parallel") -> None:
        super().__init__()
        conv, channels = CONV[place.dims], place.channels
        half = max(channels // 2, 1)
        self.channel_query = conv(channels, 1, kernel_size=1, bias=False)  # a bias falls out of the softmax
        self.channel_value = conv(channels, half, kernel_size=1)
        self.channel_project = nn.Linear(half, channels)
        self.norm = nn.LayerNorm(channels)
        self.spatial_query = conv(channels, half, kernel_size=1)
        self.spatial_value = conv(channels, half, kernel_size=1)
        self.parallel = layout == "parallel"
        self.bias = None
        if place.open:
            nn.init.constant_(self.norm.weight, 10 * OPEN_STD)
            nn.init.constant_(self.norm.bias, OPEN_BIAS)
            nn.init.normal_(self.spatial_value.weight, std=OPEN_STD)
            self.bias = nn.Parameter(torch.tensor(OPEN_BIAS))

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Weight ``x`` (B, C, *S); weights are (B, C, *S) in (0, 2), or in (0, 1) if sequential."""
        channel = self.channel_weights(x)
        spatial = self.spatial_weights(x if self.parallel else x * channel)
        weights = channel + spatial if self.parallel else channel * spatial
        return Attended(x * weights, weights)

    def channel_weights(self, x: Tensor) -> Tensor:
        """Return A_c of ``x`` (B, C, *S), (B, C, 1, ...)."""
        shares = torch.softmax(self.channel_query(x).flatten(2), dim=2)
        gathered = (self.channel_value(x).flatten(2) @ shares.transpose(1, 2))[..., 0]
        return broadcast_channels(torch.sigmoid(self.norm(self.channel_project(gathered))), x)

    def spatial_weights(self, x: Tensor) -> Tensor:
        """Return A_s of ``x`` (B, C, *S), (B, 1, *S)."""
        shares = torch.softmax(self.spatial_query(x).flatten(2).mean(dim=2), dim=1)
        logits = (broadcast_channels(shares, x) * self.spatial_value(x)).sum(dim=1, keepdim=True)
        if self.bias is not None:
            logits = logits + self.bias
        return torch.sigmoid(logits).to(x.dtype)
