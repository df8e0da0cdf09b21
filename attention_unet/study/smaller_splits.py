"""Draw splits with fewer persons to train on."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from attention_unet.config import DataConfig
from attention_unet.dataset.splits import choose_split
from attention_unet.errors import ConfigError


def smaller_splits(
    data: DataConfig, persons: int, ids: Sequence[str], subjects: Mapping[str, str]
) -> list[dict[str, list[str]]]:
    """Return the splits of all folds with fewer persons to train on: the first of a random order of each fold.

    A case that ``subjects`` does not name is a person.

    Returns:
        The ids of "train" and "val" of each fold.

    Raises:
        ConfigError: if a fold has fewer persons.
    """
    splits = []
    for fold in range(data.folds):
        split = choose_split(dataclasses.replace(data, fold=fold), ids, subjects)
        names = sorted({subjects.get(case, case) for case in split.training})
        if persons > len(names):
            raise ConfigError(f"persons: {persons}, but fold {fold} has only {len(names)} to train on")
        kept = set(np.random.RandomState([data.split_seed, fold]).permutation(names)[:persons])
        training = [case for case in split.training if subjects.get(case, case) in kept]
        splits.append({"train": training, "val": list(split.validation)})
    return splits
