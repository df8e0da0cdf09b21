"""Self-attention between channels: every channel gathers from the channels that resemble it."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Attention, Place, broadcast_channels


class ChannelSelfAttention(Attention):
    """Channel attention module of DANet (Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019)::

        A = softmax_j(x_i . x_j),  y_i = x_i + gamma sum_j A_ij x_j

    with x_i channel i as a vector of N voxels; gamma starts at 0, the exact identity. The products grow with N, so that
    a channel of a volume soon attends to itself alone. The open form therefore compares directions, times a learned
    factor: A = softmax_j(tau x_i . x_j / (||x_i|| ||x_j||)). The authors' code gives unlike channels the larger
    share, by softmax(max_j(x_i . x_j) - x_i . x_j); here it is the paper's equation.

    Args:
        place: where it sits; the "paper" start compares by plain products.
    """

    kind: str = "channel"
    multiplies = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(()))
        self.temperature = nn.Parameter(torch.ones(())) if place.open else None

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend between channels of ``x`` (B, C, *S); weights (B, C, 1, ...) are what each received; 1 is a share."""
        voxels = x.flatten(2)
        precise = voxels.to(torch.promote_types(x.dtype, torch.float32))
        if self.temperature is not None:
            precise = F.normalize(precise, dim=2)
        known = is_autocast_available(x.device.type)  # not of tensors without values, whose multiplications are counted
        with torch.autocast(x.device.type, enabled=False) if known else nullcontext():
            products = precise @ precise.transpose(1, 2)  # rounding would make large products equal
        if self.temperature is not None:
            products = self.temperature * products
        shares = torch.softmax(products, dim=2)
        gathered = (shares.to(x.dtype) @ voxels).reshape(x.shape)
        return Attended((x + self.gamma * gathered).to(x.dtype), broadcast_channels(shares.sum(dim=1), x))
