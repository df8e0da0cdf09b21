"""Normalisation that works at any batch size and on any grid."""

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # not in its __all__
from torch.nn import functional as F

SMALL = 1024  # voxels; on fewer, where channels lie together, torch's kernel was 2 to 24 times as slow on a CPU


class GroupNorm(nn.GroupNorm):
    """Group normalisation without torch's refusal of grids of one voxel, which deep levels of small inputs reach."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S)."""
        if not is_scripting():
            input = _apart_if_small(input)
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def _apart_if_small(input: Tensor) -> Tensor:
    """Channels one after another; left to themselves where a compiler decides, for which the grid is to stay free."""
    small = not torch.compiler.is_compiling() and input[:1, :1].numel() < SMALL
    return input.contiguous() if small else input


class InstanceNorm(GroupNorm):
    """Instance normalisation: every channel of every case by its own mean and variance."""

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__(channels, channels, affine=affine)


class EightChannelNorm(GroupNorm):
    """Groups of eight channels (or the next larger number that divides them) by their common mean and variance.

    For features whose channels are weighed: after instance normalisation the mean of a channel is a learned constant,
    the same for every image, and that is all that many channel attentions look at.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            max(g for g in range(1, channels + 1) if channels % g == 0 and (channels >= 8 * g or g == 1)), channels
        )


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
