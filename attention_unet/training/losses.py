"""Losses of training: Dice and cross-entropy at every supervised level, and presence of classes.

Some of the truth may be unknown. Nothing is learned from ignored voxels. In a patch of a case that does not annotate a
class, no Dice is computed for this class, and background means "background or this class".
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_unet.scans.labels import IGNORED

SMOOTH = 1e-5  # voxels


class SegmentationLoss(nn.Module):
    """Loss of Isensee et al. 2021: mean soft Dice loss of the classes, without background, plus cross-entropy.

    Exclusive classes use softmax and cross-entropy. Overlapping classes use a sigmoid each and binary cross-entropy.
    With deep supervision, each coarser level has half the weight of the one before. The weights sum to 1.

    For a class that is not annotated, the probability of background and class together is learned where the label is
    background (the marginal loss of Shi et al., "Marginal loss and exclusion loss for partially supervised multi-organ
    segmentation", Medical Image Analysis 2021). Only with ``ignoring`` may targets have ignored voxels.
    """

    def __init__(self, overlapping: bool, ignoring: bool = False) -> None:
        super().__init__()
        self.overlapping, self.ignoring = overlapping, ignoring

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor, annotated: Tensor | None = None) -> Tensor:
        """Return the loss of logits (B, K, *S), or a list of levels, finest first.

        The target (B, T, *S) is ignored where it is 255; ``annotated`` is (B, classes), None if all are.
        """
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        weights = level_weights(len(levels))
        losses = [w * self._level(level.float(), target, annotated) for w, level in zip(weights, levels, strict=True)]
        return torch.stack(losses).sum()

    def _level(self, logits: Tensor, target: Tensor, annotated: Tensor | None) -> Tensor:
        if target.shape[2:] != logits.shape[2:]:
            target = F.interpolate(target.float(), logits.shape[2:], mode="nearest-exact")
        known = target[:, :1] != IGNORED if self.ignoring else None
        if self.overlapping:
            probabilities, truth = torch.sigmoid(logits), (target == 1).float()
            of_voxels = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            entropy = mean_of_known(of_voxels, known, annotated)
        else:
            probabilities = torch.softmax(logits, dim=1)[:, 1:]
            classes = torch.arange(1, logits.shape[1], device=logits.device)
            truth = (target == classes.reshape(-1, *[1] * (logits.dim() - 2))).float()
            merged = logits if annotated is None else merge_into_background(logits, annotated)
            of_voxels = F.cross_entropy(merged, target[:, 0].long(), ignore_index=IGNORED, reduction="none")
            entropy = mean_of_known(of_voxels[:, None], known)
        if known is not None:
            probabilities, truth = probabilities * known, truth * known
        return mean_of_known(soft_dice_loss(probabilities, truth), annotated) + entropy


class PresenceLoss(nn.Module):
    """Loss of the predicted presence of classes in a patch: the SE-loss of Zhang et al., CVPR 2018 (``encoding``).

    It is the binary cross-entropy of one logit per class. The target is presence in the patch, not in the whole case.
    If every patch has every class, nothing can be learned from it. With ``ignoring``, targets may have ignored voxels:
    a class that is not seen may be there.
    """

    def __init__(self, overlapping: bool, weight: float, ignoring: bool = False) -> None:
        super().__init__()
        self.overlapping, self.weight, self.ignoring = overlapping, weight, ignoring

    def forward(self, logits: Sequence[Tensor], target: Tensor, annotated: Tensor | None = None) -> Tensor:
        """Return the weighted mean loss of logits (B, K) of one or several heads; otherwise as ``SegmentationLoss``."""
        present = present_classes(target, logits[0].shape[1], self.overlapping)
        absent = torch.ones_like(present, dtype=torch.bool)  # whether an absence would be known
        if annotated is not None:
            absent[:, absent.shape[1] - annotated.shape[1] :] = annotated
        if self.ignoring:
            absent &= (target[:, 0] != IGNORED).flatten(1).all(dim=1, keepdim=True)
        known = None if annotated is None and not self.ignoring else (present > 0) | absent
        entropy = [F.binary_cross_entropy_with_logits(each.float(), present, reduction="none") for each in logits]
        return self.weight * torch.stack([mean_of_known(each, known) for each in entropy]).mean()


def soft_dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - soft Dice of each sample and class (B, K); both arguments are (B, K, *S).

    This is MONAI's ``DiceLoss``. To import MONAI would take seconds at each start.
    """
    probabilities, truth = probabilities.flatten(2), truth.flatten(2)
    overlap, size = (probabilities * truth).sum(dim=2), probabilities.sum(dim=2) + truth.sum(dim=2)
    return 1 - (2 * overlap + SMOOTH) / (size + SMOOTH)


def present_classes(target: Tensor, classes: int, overlapping: bool) -> Tensor:
    """Return 1 for each class in a target (B, T, *S) and 0 for the others: (B, classes) float32."""
    flat = target.flatten(2)
    if overlapping:
        return (flat == 1).any(dim=2).float()
    return torch.stack([(flat[:, 0] == k).any(dim=1) for k in range(classes)], dim=1).float()


def merge_into_background(logits: Tensor, annotated: Tensor) -> Tensor:
    """Return logits (B, 1 + K, *S) in which the background has the probability of all classes without annotation, too.

    ``annotated`` (B, K) is without the background, which is the first logit.
    """
    shape = *annotated.shape, *[1] * (logits.dim() - 2)
    classes = annotated.reshape(shape)
    own = torch.cat([torch.zeros_like(classes[:, :1]), classes], dim=1)
    background = logits.masked_fill(own, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(~classes, -torch.inf)], dim=1)


def mean_of_known(values: Tensor, *known: Tensor | None) -> Tensor:
    """Return the mean of the values where all masks are true; 0 if they are true nowhere. None is true everywhere.

    A mask may lack the last axes of the values, and its axes may have length 1.
    """
    masks = [mask.reshape(*mask.shape, *[1] * (values.dim() - mask.dim())) for mask in known if mask is not None]
    if not masks:
        return values.mean()
    mask = functools.reduce(torch.logical_and, masks).expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def level_weights(levels: int) -> list[float]:
    """Return the weights of supervised levels, finest first: each half of the one before, sum 1."""
    raw = [0.5**i for i in range(levels)]
    return [w / sum(raw) for w in raw]
