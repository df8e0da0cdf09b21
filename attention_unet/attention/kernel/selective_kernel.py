"""Selective kernel: every channel chooses between convolutions of several widths."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Attention, Place, broadcast_channels
from attention_unet.layers.dimensions import CONV
from attention_unet.layers.normalization import EightChannelNorm


class SelectiveKernel(Attention):
    """Selective kernel (Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019)::

        U_k = relu(norm(f_k(x))),  z = relu(norm(W mean_n sum_k U_k)),  a = softmax_k(A_k z),  y = sum_k a_k * U_k

    with f_k depth-wise convolutions of 3 voxels per axis, k voxels apart: kernels of 3, 5, ... voxels. The authors have
    32 groups and normalise over the batch; here it is in groups of eight channels. The open form leaves out norm and
    relu after f_k, and f_k starts as the identity: so does y.

    Args:
        place: where it sits; the "paper" start keeps torch's initial values, with norm and relu.
        kernels: number of kernels.
        reduction: C over the channels of z, which are at least the smaller of 32 and C.
    """

    kind: str = "kernel"
    multiplies = False

    def __init__(self, place: Place, *, kernels: int = 2, reduction: int = 16) -> None:
        super().__init__()
        channels, conv = place.channels, CONV[place.dims]
        hidden = max(channels // reduction, min(channels, 32))
        self.branches = nn.ModuleList()
        for d in range(1, kernels + 1):
            layer = conv(channels, channels, 3, padding=d, dilation=d, groups=channels, bias=False)
            if place.open:
                nn.init.dirac_(layer.weight, groups=channels)
            body = [] if place.open else [EightChannelNorm(channels), nn.ReLU()]
            self.branches.append(nn.Sequential(layer, *body))
        self.reduce = nn.Sequential(nn.Linear(channels, hidden, bias=False), EightChannelNorm(hidden), nn.ReLU())
        self.choose = nn.Linear(hidden, kernels * channels)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Convolve ``x`` (B, C, *S); weights (B, kernels * C, 1, ...) are the shares of the kernels, by kernel."""
        parts = [branch(x) for branch in self.branches]
        logits = self.choose(self.reduce(sum(parts[1:], start=parts[0]).flatten(2).mean(dim=2)))
        shares = torch.softmax(logits.unflatten(1, (len(parts), -1)), dim=1)
        first, *others = (broadcast_channels(s, x) * part for s, part in zip(shares.unbind(1), parts, strict=True))
        features = sum(others, start=first)
        return Attended(features.to(x.dtype), broadcast_channels(shares.flatten(1), x))
