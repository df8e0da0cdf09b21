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


class PresenceLoss(nn.Module):
    """How well a network tells which classes are in a patch: the SE-loss of Zhang et al., CVPR 2018 (``encoding``).

    Binary cross-entropy of a logit a class. What is there is read from the patch that the network saw, not from the
    whole case; where every patch holds every class there is nothing to learn from it.

    Args:
        overlapping: whether a voxel may belong to several classes.
        weight: of the loss.
    """

    def __init__(self, overlapping: bool, weight: float) -> None:
        super().__init__()
        self.overlapping, self.weight = overlapping, weight

    def forward(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """Weighted mean loss of logits (B, K) of one or several tellers, for a target (B, T, *S) of integers."""
        there = present_classes(target, logits[0].shape[1], self.overlapping)
        losses = [F.binary_cross_entropy_with_logits(some.float(), there) for some in logits]
        return self.weight * torch.stack(losses).mean()


def present_classes(target: Tensor, classes: int, overlapping: bool) -> Tensor:
    """1 where a class is in a target (B, T, *S), else 0: (B, classes) float32."""
    flat = target.flatten(2)
    if overlapping:
        return (flat > 0).any(dim=2).float()
    return torch.stack([(flat[:, 0] == k).any(dim=1) for k in range(classes)], dim=1).float()


def level_weights(levels: int) -> list[float]:
    """Weights of the supervised levels, finest first: each half of the one before, together 1."""
    raw = [0.5**i for i in range(levels)]
    return [w / sum(raw) for w in raw]
