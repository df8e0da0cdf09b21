"""Losses of training: Dice and cross-entropy at every supervised level, and presence of classes."""

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F


class SegmentationLoss(nn.Module):
    """Loss of Isensee et al. 2021: mean soft Dice loss of the classes, without background, plus cross-entropy.

    Exclusive classes use softmax and cross-entropy. Overlapping classes use a sigmoid each and binary cross-entropy.
    With deep supervision, each coarser level has half the weight of the one before. The weights sum to 1.

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
        """Return the loss of logits (B, K, *S), or of a list of levels, finest first; target (B, T, *S) of integers."""
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


class PresenceLoss(nn.Module):
    """Loss of the predicted presence of classes in a patch: the SE-loss of Zhang et al., CVPR 2018 (``encoding``).

    It is the binary cross-entropy of one logit per class. The target is presence in the patch, not in the whole case.
    If every patch has every class, nothing can be learned from it.

    Args:
        overlapping: whether a voxel may belong to several classes.
        weight: weight of the loss.
    """

    def __init__(self, overlapping: bool, weight: float) -> None:
        super().__init__()
        self.overlapping, self.weight = overlapping, weight

    def forward(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the weighted mean loss of logits (B, K) of one or several heads; target (B, T, *S) of integers."""
        present = present_classes(target, logits[0].shape[1], self.overlapping)
        losses = [F.binary_cross_entropy_with_logits(of_head.float(), present) for of_head in logits]
        return self.weight * torch.stack(losses).mean()


def present_classes(target: Tensor, classes: int, overlapping: bool) -> Tensor:
    """Return 1 for each class in a target (B, T, *S) and 0 for the others: (B, classes) float32."""
    flat = target.flatten(2)
    if overlapping:
        return (flat > 0).any(dim=2).float()
    return torch.stack([(flat[:, 0] == k).any(dim=1) for k in range(classes)], dim=1).float()


def level_weights(levels: int) -> list[float]:
    """Return the weights of supervised levels, finest first: each half of the one before, sum 1."""
    raw = [0.5**i for i in range(levels)]
    return [w / sum(raw) for w in raw]
