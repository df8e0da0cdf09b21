"""Normalisation that works at any batch size and on any grid."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InstanceNorm(nn.GroupNorm):
    """Instance normalisation: every channel of every case by its own mean and variance.

    Written as group normalisation with a group a channel, without torch's refusal of grids of one voxel, which deep
    levels of small inputs reach.
    """

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__(channels, channels, affine=affine)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, C) or (B, C, *S), for parity with published forms; ours do without it.

    A single value a channel has no spread to divide by: in training it is normalised by the running statistics, where
    torch refuses it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C) or (B, C, *S)."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of spatial dimensions will do."""
