"""What training minimises: Dice and cross-entropy, at every supervised level."""

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F


class SegmentationLoss(nn.Module):
    """Mean of soft Dice over the classes, without background, plus cross-entropy, as in Isensee et al. 2021.

    Exclusive classes go through a softmax, overlapping ones through a sigmoid each, with binary cross-entropy. With
    deep supervision each coarser level counts half of the one before, and the weights sum to 1.

    Args:
        overlapping: whether a voxel may belong to several classes.
    """

    def __init__(self, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.dice = DiceLoss(
            include_background=overlapping,
            to_onehot_y=not overlapping,
            softmax=not overlapping,
            sigmoid=overlapping,
            smooth_nr=1e-5,
            smooth_dr=1e-5,
        )

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Loss of logits (B, K, *S), or of a list of them, finest first, for a target (B, T, *S) of integers."""
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        weights = level_weights(len(levels))
        losses = [w * self._level(level.float(), target) for w, level in zip(weights, levels, strict=True)]
        return torch.stack(losses).sum()

    def _level(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.shape[2:] != logits.shape[2:]:
            target = F.interpolate(target.float(), logits.shape[2:], mode="nearest-exact")
        if self.overlapping:
            entropy = F.binary_cross_entropy_with_logits(logits, target.float())
        else:
            entropy = F.cross_entropy(logits, target[:, 0].long())
        overlap: Tensor = self.dice(logits, target)
        return overlap + entropy


def level_weights(levels: int) -> list[float]:
    """Weights of the supervised levels, finest first: each half of the one before, together 1."""
    raw = [0.5**i for i in range(levels)]
    return [w / sum(raw) for w in raw]
