"""From what models say of a few planes to what is told of them: label, probabilities, attention, uncertainty."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels


def combine_planes(
    slabs: Sequence[Tensor], levels: Sequence[Sequence[int]], labels: Labels, settings: Settings
) -> dict[str, NDArray[Any]]:
    """Everything that is wanted of a few planes, by name, from what each model says of them.

    Args:
        slabs: of each model, probabilities, then attention of its levels, (K, *S).
        levels: of each model.
        labels: of the probabilities.
        settings: what is wanted.
    """
    each = [slab[: labels.channels] for slab in slabs]
    probabilities = mean(each)
    told = {"label map": probabilities_to_labels(probabilities, labels)}
    for level in levels[0]:
        if all(level in own for own in levels):
            maps = [slab[labels.channels + own.index(level)] for slab, own in zip(slabs, levels, strict=True)]
            told[f"level {level}"] = mean(maps).numpy()
    if settings.probabilities:
        told["probabilities"] = probabilities.numpy()
    if settings.uncertainty:
        told["entropy"] = entropy(probabilities, labels).numpy()
        if len(each) > 1:
            own = mean([entropy(p, labels) for p in each]).numpy()
            told["disagreement"] = np.maximum(told["entropy"] - own, 0)
    return told


def probabilities_to_labels(probabilities: Tensor, labels: Labels) -> NDArray[np.unsignedinteger[Any]]:
    """The training's integers (*S) for probabilities (K, *S); of equal ones the first."""
    if labels.overlapping:
        return labels.decode((probabilities > 0.5).numpy())
    largest, index = probabilities[0], torch.zeros(probabilities.shape[1:], dtype=torch.uint8)
    for number, probability in enumerate(probabilities[1:], start=1):  # argmax across memory is many times slower
        index.masked_fill_(probability > largest, number)
        largest = torch.maximum(largest, probability)
    return labels.decode(index[None].numpy())


def entropy(probabilities: Tensor, labels: Labels) -> Tensor:
    """Of the label (K, *S), as a share of the highest there can be; of overlapping classes that of the least sure one.

    Returns:
        (*S), from 0, sure, to 1, every label as likely as any other.
    """
    if labels.overlapping:
        of_both: Tensor = torch.special.entr(torch.stack([probabilities, 1 - probabilities]))
        return of_both.sum(dim=0).amax(dim=0) / math.log(2)
    of_all: Tensor = torch.special.entr(probabilities)
    return of_all.sum(dim=0) / math.log(len(probabilities))


def mean(values: Sequence[Tensor]) -> Tensor:
    """Mean of tensors of one shape."""
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(dim=0)
