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
            results[place] = mean(maps).cpu().numpy()
    if settings.probabilities:
        results["probabilities"] = probabilities.cpu().numpy()
    if settings.uncertainty:
        results["entropy"] = entropy(probabilities, labels).cpu().numpy()
        if len(each) > 1:
            mean_entropy = mean([entropy(shares, labels) for shares in each]).cpu().numpy()
            results["disagreement"] = np.maximum(results["entropy"] - mean_entropy, 0)
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


def entropy(probabilities: Tensor, labels: Labels) -> Tensor:
    """Return the entropy (*S) of the label by probabilities (K, *S), from 0, certain, to 1, all labels equally likely.

    If classes overlap, it is that of the class with the highest entropy.
    """
    if labels.overlapping:
        of_both: Tensor = torch.special.entr(torch.stack([probabilities, 1 - probabilities]))
        return of_both.sum(dim=0).amax(dim=0) / math.log(2)
    of_all: Tensor = torch.special.entr(probabilities)
    return of_all.sum(dim=0) / math.log(len(probabilities))


def mean(values: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape."""
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(dim=0)
