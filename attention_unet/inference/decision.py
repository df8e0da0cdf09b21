"""Turn predicted probabilities of some planes into labels, maps and uncertainty."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.inference.expected_dice import expected_overlap
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels


def combine_planes(
    planes: Sequence[Tensor], places: Sequence[Sequence[str]], labels: Labels, settings: Settings
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
    """Average the models' predictions of some planes, and return the results that are wanted.

    The planes of each model are probabilities, then attention at its places: (K, *S).

    Returns:
        "label map" (*S), "skip 1" (*S) and so on for places that all models have, "probabilities" (K, *S), "entropy"
        and, of several models, "disagreement" (*S). And the sums of ``expected_overlap``.
    """
    each = [values[: labels.channels] for values in planes]
    probabilities = mean(each)
    target = choose_classes(probabilities, labels)
    results = {"label map": labels.decode(target.cpu().numpy())}
    for place in places[0]:
        if all(place in own for own in places):
            maps = [values[labels.channels + own.index(place)] for values, own in zip(planes, places, strict=True)]
            results[place] = _mean_weights(maps).cpu().numpy()
    if settings.probabilities:
        results["probabilities"] = probabilities.cpu().numpy()
    if settings.uncertainty:
        of_mean = entropies(probabilities, labels)
        results["entropy"] = of_mean.amax(dim=0).cpu().numpy()
        if len(each) > 1:
            gained = of_mean - mean([entropies(shares, labels) for shares in each])
            results["disagreement"] = gained.amax(dim=0).clamp(min=0).cpu().numpy()
    return results, expected_overlap(probabilities, target, labels)


def choose_classes(probabilities: Tensor, labels: Labels) -> Tensor:
    """Return the index (1, *S) of the highest of probabilities (K, *S), of equal ones the first; 0 is the background.

    If classes overlap, return a mask of each, where it is above 0.5 (K, *S).
    """
    if labels.overlapping:
        return probabilities > 0.5
    largest = probabilities[0]
    index = torch.zeros_like(largest, dtype=torch.uint8)
    for number, probability in enumerate(probabilities[1:], start=1):  # many times faster than argmax over this axis
        index.masked_fill_(probability > largest, number)
        largest = torch.maximum(largest, probability)
    return index[None]


def entropies(probabilities: Tensor, labels: Labels) -> Tensor:
    """Return the entropy (1, *S) of the label by probabilities (K, *S): 0 is certain, 1 all labels equally likely.

    If classes overlap, return that of each class (K, *S): 1 where its probability is 0.5.
    """
    if labels.overlapping:
        of_both: Tensor = torch.special.entr(torch.stack([probabilities, 1 - probabilities]))
        return of_both.sum(dim=0) / math.log(2)
    of_all: Tensor = torch.special.entr(probabilities)
    return of_all.sum(dim=0, keepdim=True) / math.log(len(probabilities))


def _mean_weights(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean of attention maps over the models that predicted a voxel: it is 0 where a model did not."""
    if len(maps) == 1:
        return maps[0]
    together = torch.stack(list(maps))
    return together.sum(dim=0) / (together > 0).sum(dim=0).clamp(min=1)


def mean(values: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape."""
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(dim=0)
