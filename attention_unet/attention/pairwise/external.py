"""External attention: voxels attend to a learned memory that all images share."""

import torch
from torch import Tensor, nn

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.attention.pairwise.scaled_dot_product import tokens
from attention_unet.layers.dimensions import CONV


class ExternalAttention(Gathering):
    """External attention (Guo, Liu, Mu, Hu, "Beyond Self-Attention: External Attention Using Two Linear Layers ...",
    TPAMI 2023)::

        a = softmax_voxels(Q M_k^T),  A = a / sum_slots a,  y = x + W (A M_v)

    with M_k and M_v the keys and values of a memory of learned slots. W starts at 0: the exact identity.

    Args:
        slots: keys of the memory.
    """

    def __init__(self, place: Place, *, slots: int = 64) -> None:
        super().__init__()
        channels = place.channels
        self.query = CONV[place.dims](channels, channels, kernel_size=1, bias=False)  # it falls out of the softmax
        self.keys = nn.Parameter(torch.randn(slots, channels) * channels**-0.5)
        self.values = nn.Parameter(torch.randn(slots, channels) * slots**-0.5)
        self.project = CONV[place.dims](channels, channels, kernel_size=1)
        start_at_zero(self.project)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to the memory; weights are how much slots ask of a voxel, (B, 1, *S), mean 1."""
        keys, values = self.keys.to(x.dtype), self.values.to(x.dtype)
        asked = torch.softmax(tokens(self.query(x))[:, 0] @ keys.T, dim=1)
        # Few of the shares of a large grid are far from 0; the sum over the slots may be tiny, but is not 0.
        gathered = (asked / (asked.sum(dim=2, keepdim=True) + 1e-9)) @ values
        gathered = gathered.transpose(1, 2).reshape(x.shape)
        received = None
        if with_map:
            received = (asked.detach().mean(dim=2) * asked.shape[1]).reshape(len(x), 1, *x.shape[2:]).to(x.dtype)
        return Attended((x + self.project(gathered)).to(x.dtype), received)
