"""Make or read cross-validation folds, which are the same on every machine and saved with the run."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attention_unet.config import DataConfig
from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.files.json_file import read_json, read_object, write_json
from attention_unet.files.run_folder import SPLIT

log = logging.getLogger(__name__)

LATE_FOLDS = 10  # one subject in ten joins a training late
MAX_LATE = 20  # cases


@dataclass(frozen=True)
class Split:
    """Ids of training cases and ids of held-out cases."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def choose_split(data: DataConfig, ids: Sequence[str], subjects: Mapping[str, str]) -> Split:
    """Return the configured split: a fold made from subjects, or one from ``data.splits``.

    A case without a subject is its own subject. Raise ConfigError if the file of splits does not fit the cases, or a
    subject is on both sides.
    """
    if not data.splits:
        return split_cases(ids, data.folds, data.fold, data.split_seed, subjects)
    file = Path(data.splits)
    splits = read_splits(file)
    if data.fold < 0:
        listed = {case for split in splits for case in (*split.training, *split.validation)}
        if unused := set(ids) - listed:
            log.warning("%s: no split lists %s: not used", file, first_few(unused))
        return split_cases([case for case in ids if case in listed], data.folds, data.fold, data.split_seed, subjects)
    if len(splits) > 1 and len(splits) != data.folds:
        count = len(splits)
        raise ConfigError(f"{file}: holds {count} splits, but data.folds is {data.folds}: set data.folds to {count}")
    plain = read_json(file)
    fold = plain.get("fold") if isinstance(plain, dict) else None
    if len(splits) == 1 and isinstance(fold, int) and fold != data.fold:
        raise ConfigError(
            f"{file}: holds the split of fold {fold}, but data.fold is {data.fold}: name a file with all folds"
        )
    split = splits[0] if len(splits) == 1 else splits[data.fold]
    absent = sorted({*split.training, *split.validation} - set(ids))
    if absent:
        raise ConfigError(f"{file}: lists {first_few(absent)}, not in the dataset: correct the file")
    if not split.training:
        raise ConfigError(f"{file}: fold {data.fold} has no training case: correct the file")
    if unused := set(ids) - {*split.training, *split.validation}:
        log.warning("%s: fold %d does not list %s: not used", file, data.fold, first_few(unused))
    check_subjects(split, subjects, file)
    return split


def check_subjects(split: Split, subjects: Mapping[str, str], source: Path) -> None:
    """Raise ConfigError if a subject is both trained on and held out. It names ``source``, the file of the split."""
    training, held_out = (
        {subjects[case] for case in cases if case in subjects} for cases in (split.training, split.validation)
    )
    both = sorted(training & held_out)
    if both:
        raise ConfigError(
            f"{source}: {first_few(both)}: trained on and held out; expected each subject on one side: correct it"
        )


def split_cases(
    ids: Sequence[str], folds: int, fold: int, seed: int, subjects: Mapping[str, str] | None = None
) -> Split:
    """Hold out one of k folds.

    NumPy's RandomState(seed) shuffles the sorted subjects, which are then cut into k blocks. The first blocks may have
    one subject more. If every case is its own subject, seed 12345 and 5 folds give the folds of nnU-Net. Fold -1 holds
    out no case. A case that ``subjects`` does not list is its own subject. Raise ConfigError if there are fewer
    subjects than folds.
    """
    ordered = sorted(ids)
    if fold < 0:
        return Split(tuple(ordered), ())
    subject_of = {case: (subjects or {}).get(case, case) for case in ordered}
    distinct = sorted(set(subject_of.values()))
    if len(distinct) < folds:
        count = plural(len(distinct), "subject" if subjects else "case")
        fewer = f"lower data.folds to {len(distinct)}, or " if len(distinct) > 1 else ""
        raise ConfigError(f"data.folds is {folds}, but the dataset has {count}: {fewer}train on all with data.fold -1")
    shuffled = np.arange(len(distinct))
    np.random.RandomState(seed).shuffle(shuffled)
    chosen = {distinct[i] for i in np.array_split(shuffled, folds)[fold]}
    return Split(
        tuple(case for case in ordered if subject_of[case] not in chosen),
        tuple(case for case in ordered if subject_of[case] in chosen),
    )


def check_held_out_once(splits: Mapping[int, Split]) -> None:
    """Raise ConfigError if a case is held out in two folds: it would have two results."""
    fold_of: dict[str, int] = {}
    for fold, split in splits.items():
        for case in split.validation:
            if case in fold_of:
                raise ConfigError(
                    f"{case} is held out in folds {fold_of[case]} and {fold}: expected each case in one fold at most; "
                    "correct data.splits, or train repeated splits in folders of their own"
                )
            fold_of[case] = fold


def choose_late_cases(ids: Sequence[str], subjects: Mapping[str, str], seed: int) -> list[str]:
    """Return ids of cases that a training without held-out cases predicts before it trains on them.

    They are a tenth of the cases, at most 20 or those of one subject. With fewer than 10 subjects, the list is empty.
    """
    if len({subjects.get(case, case) for case in ids}) < LATE_FOLDS:
        return []
    late: list[str] = []
    tenth = split_cases(ids, LATE_FOLDS, 0, seed, subjects).validation
    for subject in dict.fromkeys(subjects.get(case, case) for case in tenth):
        cases = [case for case in tenth if subjects.get(case, case) == subject]
        if not late or len(late) + len(cases) <= MAX_LATE:
            late += cases
    return late


def write_split(path: Path, split: Split, fold: int | None = None) -> None:
    """Write a split as JSON: case ids, and the number of the fold if given."""
    plain = dataclasses.asdict(split) | ({} if fold is None else {"fold": fold})
    write_json(path, plain)


def read_split(path: Path) -> Split:
    """Read the split that a training wrote. Raise ConfigError if the file is missing or damaged."""
    try:
        return parse_split(read_object(path))
    except (DataError, ValueError) as error:
        raise ConfigError(f"{path}: holds no split of cases ({error}): expected splits.json of a run") from error


def read_splits(path: Path) -> list[Split]:
    """Read one split that a training wrote, or a list of objects of "train" and "val" (nnU-Net's splits_final.json).

    Raise ConfigError if the file holds no split or is damaged, or a case is on both sides of a split.
    """
    try:
        plain = read_json(path)
        splits = (
            [parse_split(fold, "train", "val") for fold in plain] if isinstance(plain, list) else [parse_split(plain)]
        )
    except (DataError, ValueError) as error:
        expected = "correct it, or name splits.json of a run, or splits_final.json of nnU-Net"
        raise ConfigError(f"{path}: its splits of cases cannot be used ({error}): {expected}") from error
    if not splits:
        raise ConfigError(f"{path}: holds no splits: expected at least one; correct the file")
    return splits


def parse_split(plain: object, training: str = "training", validation: str = "validation") -> Split:
    """Make a split of plain values. Raise ValueError if they are wrong, or a case is listed twice or on both sides."""
    parts = [plain.get(name) for name in (training, validation)] if isinstance(plain, Mapping) else [None]
    if not all(isinstance(part, list) and all(isinstance(case, str) for case in part) for part in parts):
        raise ValueError(f"no lists {training!r} and {validation!r} of case ids")
    split = Split(*(tuple(part) for part in parts if part is not None))
    if twice := [case for part in (split.training, split.validation) for case, n in Counter(part).items() if n > 1]:
        raise ValueError(f"{twice[0]} is listed twice")
    if both := set(split.training) & set(split.validation):
        raise ValueError(f"{first_few(both)}: trained on and held out; expected each case on one side")
    return split


def smaller_splits(
    data: DataConfig, persons: int, ids: Sequence[str], subjects: Mapping[str, str]
) -> list[dict[str, list[str]]]:
    """Return "train" and "val" of all folds with fewer persons to train on: the first of a random order of each fold.

    A case that ``subjects`` does not name is a person. Raise ConfigError if a fold has fewer persons.
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


def read_held_out(run: Path, cases: Sequence[str] | None) -> list[str]:
    """Return the cases that a run held out; ``cases`` are those that are there, or None to check nothing.

    Raise ConfigError if the run held out no case, or one that is not in ``cases``.
    """
    held_out = read_split(run / SPLIT).validation
    missing = [] if cases is None else sorted(set(held_out).difference(cases))
    if not held_out:
        raise ConfigError(f"{run}: held out no case: expected a run of one fold")
    if missing:
        raise ConfigError(
            f"{run}: held out {first_few(missing)}, expected among the given cases: add them, or name a run of this "
            "dataset"
        )
    return list(held_out)
