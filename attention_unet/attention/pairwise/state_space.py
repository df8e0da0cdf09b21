"""State-space layer: voxels gather along each axis from states that fade with distance."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.attention.base import Attended, Gathering, Place, start_at_zero
from attention_unet.layers.dimensions import CONV


class StateSpace(Gathering):
    """Gated state-space layer, after S4ND (Nguyen et al., "S4ND: Modeling Images and Videos as Multidimensional Signals
    Using State Spaces", NeurIPS 2022) with the real diagonal states of S4D (Gu et al., NeurIPS 2022)::

        h_t = r h_t-1 + v_t,  u_t = sum_i c_i h_ti      along each axis in turn, both ways, itself once
        y = x + W (sigmoid(G x) * u),  v = V x

    with rates r in (0, 1) and outputs c of every channel, axis, direction and state: a voxel sees the whole grid, near
    voxels more. Each axis is one matrix product, with what an impulse at each position leaves at every other. Mamba
    chooses r and c anew in each voxel. This needs a scan of one step for each voxel, too slow in plain PyTorch. Here
    only the gate depends on the voxel. W starts at 0: the exact identity.

    Args:
        states: number of states of each channel, axis and direction.
    """

    def __init__(self, place: Place, *, states: int = 4) -> None:
        super().__init__()
        conv, channels = CONV[place.dims], place.channels
        self.value, self.gate, self.project = (conv(channels, channels, kernel_size=1) for _ in range(3))
        start_at_zero(self.project)
        # Both directions of every axis: rates that fade over 1, 2, 4, ... voxels.
        shape = (place.dims, 2, channels, states)
        self.log_fading = nn.Parameter(-torch.arange(states) * torch.log(torch.tensor(2.0)).expand(shape))
        self.output = nn.Parameter(torch.randn(shape) * (2 * states) ** -0.5)

    def forward(self, x: Tensor, gate: Tensor | None = None, with_map: bool = False) -> Attended:
        """Attend from ``x`` (B, C, *S) to itself; weights are the mean gate of the channels, (B, 1, *S)."""
        gathered = self.value(x)
        for axis in range(2, x.dim()):
            lines = gathered.movedim(axis, 2)
            answers = self.answers(axis - 2, lines.shape[2]).to(x.dtype)
            gathered = (answers @ lines.flatten(3)).reshape(lines.shape).movedim(2, axis)
        taken = torch.sigmoid(self.gate(x)).to(x.dtype)
        mean = taken.detach().mean(dim=1, keepdim=True) if with_map else None
        return Attended((x + self.project(taken * gathered)).to(x.dtype), mean)

    def answers(self, axis: int, n: int) -> Tensor:
        """Return what an impulse at each of n positions leaves at every position of an axis, (C, to n, from n)."""
        precise = torch.promote_types(self.output.dtype, torch.float32)
        fading = torch.exp(self.log_fading[axis].to(precise))
        distance = torch.arange(n, device=fading.device)
        # (2, C, n): the sum of c r^distance over the states, with r = exp(-fading)
        fades = torch.exp(-fading[..., None] * distance)
        forward, backward = (self.output[axis].to(precise)[..., None] * fades).sum(dim=2)
        by_offset = torch.cat([backward[:, 1:].flip(1), forward], dim=1)  # offsets from 1 - n to n - 1
        offset = distance[:, None] - distance + n - 1
        return F.embedding(offset, by_offset.T).permute(2, 0, 1)
