"""Estimate how well a mask agrees with the truth that nobody has drawn, from the probabilities of the network.

If a voxel belongs to a class with its probability p, a mask M is expected to share sum of p over M voxels with the true
structure, which is expected to have sum of p over all voxels. Their Dice is about 2 sum(p in M) / (|M| + sum(p)).
Probabilities below 0.1 count as 0: after a short training, all of a large background has a few percent. The number is
not exact: networks may be too sure of themselves, or not sure enough. How well it orders cases depends on the data:
``evaluate`` measures that.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attention_unet.scans.labels import Labels

LEAST = 0.1  # lower probabilities count as 0


def expected_overlap(probabilities: Tensor, target: Tensor, labels: Labels) -> NDArray[np.float64]:
    """Return what ``expected_dice`` needs of some planes. That of several planes is added.

    The probabilities (K, *S) are of background and classes, the target (1, *S) is 0 in the background. If classes
    overlap, both have one entry per class.

    Returns:
        Of each class: voxels of its mask, sum of its probabilities there, sum of its probabilities everywhere that are
        above 0.1: (3, classes).
    """
    near = probabilities.amax(dim=0) > LEAST if labels.overlapping else probabilities[0] < 1 - LEAST
    of_classes, target = probabilities[0 if labels.overlapping else 1 :, near], target[:, near]
    sums = []
    for i, of_class in enumerate(of_classes):
        mask = target[i] > 0 if labels.overlapping else target[0] == i + 1
        sums += [mask.sum().float(), (of_class * mask).sum(), F.threshold(of_class, LEAST, 0).sum()]
    return torch.stack(sums).view(-1, 3).T.cpu().double().numpy()  # one wait for a GPU


def expected_dice(overlap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected Dice of each class (classes,), 0 to 1, of the sums of ``expected_overlap``.

    It is NaN for a class without mask: probabilities do not tell a structure that was missed from one that is absent.
    """
    voxels, inside, everywhere = overlap
    found: NDArray[np.float64] = np.divide(
        2 * inside, voxels + everywhere, out=np.full(len(voxels), np.nan), where=voxels > 0
    )
    return found
