"""Normalisation that works at any batch size and on any grid."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = 1024  # voxels; on smaller grids torch's CPU kernel was 2 to 24 times slower for channels-last features


class GroupNorm(nn.GroupNorm):
    """Group normalisation that accepts grids of one voxel, which torch refuses.

    Deep levels of small inputs have such grids.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, *S). The result has the type of the input."""
        # Compiled code is left as it is: the check of the size would fix the grid.
        if not torch.compiler.is_compiling() and input.shape[2:].numel() < SMALL:
            input = input.contiguous()
        if input.device.type != "cuda" or input.dtype == torch.float32:
            return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        # The kernel sums in float32. CUDA's autocast would also return float32: twice the memory.
        weight, bias = (None if p is None else p.to(input.dtype) for p in (self.weight, self.bias))
        with torch.autocast("cuda", enabled=False):
            return torch.group_norm(input, self.num_groups, weight, bias, self.eps)


class InstanceNorm(GroupNorm):
    """Instance normalisation: each channel of each case by its own mean and variance."""

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__(channels, channels, affine=affine)


class EightChannelNorm(GroupNorm):
    """Normalisation in groups of eight channels, or of the next larger number that divides them.

    It is for features with channel attention. After instance normalisation the mean of a channel is a learned constant,
    the same for every image, and many channel attentions see only that mean.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            max(g for g in range(1, channels + 1) if channels % g == 0 and (channels >= 8 * g or g == 1)), channels
        )


Norm = type[InstanceNorm] | type[EightChannelNorm]
NORMS: dict[str, Norm] = {"instance": InstanceNorm, "group": EightChannelNorm}


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, C) or (B, C, *S), only for parity with published forms.

    In training a single value per channel has no variance, and torch refuses it. Here the running statistics normalise
    it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C) or (B, C, *S)."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of spatial dimensions."""
