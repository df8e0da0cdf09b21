"""Cross-validation folds by case id: the same on every machine, saved with the run."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_unet.atomic import write_text
from attention_unet.errors import ConfigError, DataError
from attention_unet.json_file import read_object
from attention_unet.run_folder import SPLIT


@dataclass(frozen=True)
class Split:
    """Case ids to train on and case ids held out."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def split_cases(ids: Sequence[str], folds: int, fold: int, seed: int) -> Split:
    """Hold out one of k folds.

    The sorted ids are shuffled by NumPy's RandomState(seed) and cut into k blocks as equal as can be, the larger first;
    with seed 12345 and 5 folds these are the folds that nnU-Net makes of the same cases.

    Args:
        ids: case ids, in any order.
        folds: number of folds k.
        fold: the one to hold out, from 0; -1 holds out none.
        seed: of the shuffle.

    Raises:
        ConfigError: if there are fewer cases than folds.
    """
    ordered = sorted(ids)
    if fold < 0:
        return Split(tuple(ordered), ())
    if len(ordered) < folds:
        raise ConfigError(f"data.folds is {folds} but there are {len(ordered)} cases: expected at most one fold a case")
    shuffled = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(shuffled)
    held_out = {ordered[i] for i in np.array_split(shuffled, folds)[fold]}
    return Split(tuple(i for i in ordered if i not in held_out), tuple(i for i in ordered if i in held_out))


def write_split(path: Path, split: Split) -> None:
    """Write a split as JSON: ids only."""
    write_text(path, json.dumps(dataclasses.asdict(split), indent=1) + "\n")


def read_split(path: Path) -> Split:
    """Read a split.

    Raises:
        ConfigError: if there is none, or it is damaged.
    """
    try:
        return split_of(read_object(path))
    except (DataError, ValueError) as error:
        raise ConfigError(
            f"{path}: holds no split of cases ({error}): expected the file that a training writes"
        ) from error


def split_of(plain: Mapping[str, Any]) -> Split:
    """A split of plain values.

    Raises:
        ValueError: if they are none.
    """
    parts = [plain.get(name) for name in ("training", "validation")]
    if not all(isinstance(part, list) and all(isinstance(case, str) for case in part) for part in parts):
        raise ValueError("no lists of case ids")
    training, validation = (tuple(part) for part in parts if part is not None)
    return Split(training, validation)


def held_out_cases(run: Path, cases: Sequence[str]) -> list[str]:
    """Those of the cases that a run held out.

    Raises:
        ConfigError: if it held out none, or one is not among the cases.
    """
    held_out = read_split(run / SPLIT).validation
    missing = [case for case in held_out if case not in cases]
    if not held_out:
        raise ConfigError(f"{run}: held out no case: expected a run of a fold")
    if missing:
        raise ConfigError(f"{run}: held out {len(held_out)} cases, but there are no {missing[:5]} here")
    return list(held_out)
