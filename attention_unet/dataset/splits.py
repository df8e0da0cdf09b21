"""Cross-validation folds: made from subjects or read from a file, the same on every machine, saved with the run."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attention_unet.config import DataConfig
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import read_json, read_object
from attention_unet.files.run_folder import SPLIT

log = logging.getLogger(__name__)

LATE_FOLDS, MOST_LATE = 10, 20  # of the subjects one in ten, and so many cases


@dataclass(frozen=True)
class Split:
    """Case ids to train on and case ids held out."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def choose_split(data: DataConfig, ids: Sequence[str], subjects: Mapping[str, str]) -> Split:
    """Return the cases to train on and those to hold out, as configured.

    Args:
        data: configuration of the data.
        ids: case ids of the dataset.
        subjects: subject by case id; empty if every case is a person of its own.

    Raises:
        ConfigError: if a file of splits does not fit the cases, or a subject is on both sides.
    """
    if data.fold < 0 or not data.splits:
        return split_cases(ids, data.folds, data.fold, data.split_seed, subjects)
    file = Path(data.splits)
    splits = read_splits(file)
    if len(splits) > 1 and len(splits) != data.folds:
        raise ConfigError(f"{file}: holds {len(splits)} splits, but data.folds is {data.folds}: set data.folds")
    fold = _fold_of(file)
    if len(splits) == 1 and fold not in (None, data.fold):
        raise ConfigError(
            f"{file}: holds the split of fold {fold}, but data.fold is {data.fold}: name a file of all folds"
        )
    split = splits[0] if len(splits) == 1 else splits[data.fold]
    absent = sorted({*split.training, *split.validation} - set(ids))
    if absent:
        raise ConfigError(f"{file}: lists {first_few(absent)}, which the dataset lacks: correct the file")
    if not split.training:
        raise ConfigError(f"{file}: fold {data.fold} has no case to train on: correct the file")
    unused = sorted(set(ids) - {*split.training, *split.validation})
    if unused:
        log.warning("%s: not used, because fold %d does not list them: %s", file, data.fold, first_few(unused))
    check_subjects(split, subjects, file)
    return split


def check_subjects(split: Split, subjects: Mapping[str, str], source: Path) -> None:
    """Check that no subject is both trained on and held out.

    Raises:
        ConfigError: naming the subjects that are, and ``source``, from which the split was read.
    """
    taught = {subjects[case] for case in split.training if case in subjects}
    both = sorted({subjects[case] for case in split.validation if case in subjects} & taught)
    if both:
        raise ConfigError(
            f"{source}: {first_few(both)}: trained on and held out; expected each subject on one side: split anew"
        )


def split_cases(
    ids: Sequence[str], folds: int, fold: int, seed: int, subjects: Mapping[str, str] | None = None
) -> Split:
    """Hold out one of k folds.

    The sorted subjects are shuffled by NumPy's RandomState(seed) and cut into k blocks as equal as can be, the larger
    first. If every case is a subject, seed 12345 and 5 folds give the folds that nnU-Net makes of the same cases.

    Args:
        ids: case ids, in any order.
        folds: number of folds k.
        fold: the one to hold out, from 0; -1 holds out none.
        seed: of the shuffle.
        subjects: subject by case id; a case that is not listed is a subject of its own.

    Raises:
        ConfigError: if there are fewer subjects than folds.
    """
    ordered = sorted(ids)
    if fold < 0:
        return Split(tuple(ordered), ())
    subject_of = {case: (subjects or {}).get(case, case) for case in ordered}
    persons = sorted(set(subject_of.values()))
    if len(persons) < folds:
        what = "subjects" if subjects else "cases"
        raise ConfigError(f"data.folds is {folds} but there are {len(persons)} {what}: expected at most one fold each")
    shuffled = np.arange(len(persons))
    np.random.RandomState(seed).shuffle(shuffled)
    chosen = {persons[i] for i in np.array_split(shuffled, folds)[fold]}
    held_out = {case for case in ordered if subject_of[case] in chosen}
    return Split(tuple(i for i in ordered if i not in held_out), tuple(i for i in ordered if i in held_out))


def late_cases(ids: Sequence[str], subjects: Mapping[str, str], seed: int) -> list[str]:
    """Choose the cases that a training without held-out cases predicts before it trains on them: a tenth, at most 20.

    Args:
        ids: case ids.
        subjects: subject by case id; a case that is not listed is a subject of its own.
        seed: of the choice.

    Returns:
        Their ids; none if there are fewer than 10 subjects.
    """
    if len({subjects.get(case, case) for case in ids}) < LATE_FOLDS:
        return []
    return list(split_cases(ids, LATE_FOLDS, 0, seed, subjects).validation[:MOST_LATE])


def write_split(path: Path, split: Split, fold: int | None = None) -> None:
    """Write a split as JSON: ids, and the fold if it was read from a file of splits."""
    plain = dataclasses.asdict(split) | ({} if fold is None else {"fold": fold})
    write_text(path, json.dumps(plain, indent=1) + "\n")


def _fold_of(file: Path) -> int | None:
    """The fold that ``write_split`` noted; None if there is none, or the file lists several splits."""
    plain = read_json(file)
    fold = plain.get("fold") if isinstance(plain, dict) else None
    return fold if isinstance(fold, int) else None


def read_split(path: Path) -> Split:
    """Read the split that a training wrote.

    Raises:
        ConfigError: if there is none, or it is damaged.
    """
    try:
        return split_of(read_object(path))
    except (DataError, ValueError) as error:
        raise ConfigError(
            f"{path}: holds no split of cases ({error}): expected the file that a training writes"
        ) from error


def read_splits(path: Path) -> list[Split]:
    """Read splits: one that a training wrote, or a list of objects of "train" and "val" (nnU-Net's splits_final.json).

    Raises:
        ConfigError: if there are none, the file is damaged, or a case is on both sides of a split.
    """
    try:
        plain = read_json(path)
        splits = [split_of(fold, "train", "val") for fold in plain] if isinstance(plain, list) else [split_of(plain)]
    except (DataError, ValueError) as error:
        expected = "expected splits.json of a run, or splits_final.json of nnU-Net"
        raise ConfigError(f"{path}: holds no splits of cases ({error}): {expected}") from error
    if not splits:
        raise ConfigError(f"{path}: holds no splits: expected at least one")
    for split in splits:
        both = sorted(set(split.training) & set(split.validation))
        if both:
            raise ConfigError(f"{path}: {first_few(both)}: trained on and held out; expected each case on one side")
    return splits


def split_of(plain: object, training: str = "training", validation: str = "validation") -> Split:
    """Make a split of plain values.

    Args:
        plain: an object with two lists of case ids.
        training: name of the list of cases to train on.
        validation: name of the list of cases held out.

    Raises:
        ValueError: if it is not such an object.
    """
    parts = [plain.get(name) for name in (training, validation)] if isinstance(plain, Mapping) else [None]
    if not all(isinstance(part, list) and all(isinstance(case, str) for case in part) for part in parts):
        raise ValueError(f"no lists {training!r} and {validation!r} of case ids")
    return Split(*(tuple(part) for part in parts if part is not None))


def held_out_cases(run: Path, cases: Sequence[str]) -> list[str]:
    """Return those of the cases that a run held out.

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
