"""Run the trainings of a study. Each leaves small files of results, and is not run again."""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from attention_unet.config import Config
from attention_unet.dataset.cases import find_cases, locate_dataset
from attention_unet.dataset.splits import choose_split
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import ConfigError, DataError
from attention_unet.evaluation.rows import Row
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import parse_object
from attention_unet.files.lock import folder_lock
from attention_unet.files.run_folder import HISTORY, VALIDATIONS
from attention_unet.scans.labels import FOREGROUND
from attention_unet.study.design import Cell, Study, digest_of
from attention_unet.study.scores import PREDICTION, VALIDATION, Score, scores_to_csv
from attention_unet.training.checkpoint import STATE, load_state
from attention_unet.training.cross_validation import cross_validate
from attention_unet.training.history import read_history, read_validations
from attention_unet.training.resolved_settings import read_resolved_settings, without_paths

log = logging.getLogger(__name__)

CELLS, RUNS = "cells", "runs"  # folders of results and of trainings


def is_done(study: Study, cell: Cell, folder: Path) -> bool:
    """Return whether a training of the study has left its results.

    Raises:
        ConfigError: if it was run with another configuration.
    """
    file = folder / CELLS / f"{cell.name}.json"
    if not file.exists():
        return False
    sha256 = parse_object(file, lambda plain: str(plain["sha256"]), "remove it, to run this training again")
    if sha256 != _configure(study, cell)[1]:
        run = folder / RUNS / cell.group / f"fold{cell.fold}"
        raise ConfigError(f"{file}: is of another configuration than the study's: remove it and {run}, to run it again")
    return True


def run_cell(study: Study, cell: Cell, folder: Path) -> None:
    """Train, predict and score one cell, if it is not done. A run that was stopped is continued.

    Args:
        study: the study, with planned values filled in.
        cell: the training.
        folder: folder of the study.

    Raises:
        Busy: if another process has this cell.
        Interrupted: if the user stopped the training.
    """
    if is_done(study, cell, folder):
        return
    run = folder / RUNS / cell.group
    with folder_lock(folder / CELLS / f".{cell.name}", patience=0):
        config, sha256 = _configure(study, cell)
        dataset = find_cases(locate_dataset(config.data.root, config.data.dataset))
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, cache=config.data.cache or str(folder / "cache"))
        )
        ids = [case.id for case in dataset.cases]
        subjects = find_subjects(config.data, dataset.root, ids)
        if cell.cases is not None:
            splits = _write_splits(config, cell.cases, ids, subjects, folder)
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, splits=str(splits)))
        found, failed = cross_validate(config, run, [cell.fold])
        if failed:
            raise ConfigError(f"{run}: {next(iter(failed.values()))}: cases failed, so the cell has no result")
        of_fold = run / f"fold{cell.fold}"
        last = read_history(of_fold / HISTORY)[-1]
        held_out = found.held_out[cell.fold]
        scores = [
            Score(VALIDATION, row.step, row.case, subjects.get(row.case, row.case), row.class_name, row.dice)
            for row in read_validations(of_fold / VALIDATIONS)
        ]
        scores += [
            _score_of(row, int(last["step"]), subjects)
            for row in found.rows
            if row.case in held_out and row.class_name != FOREGROUND
        ]
        data = read_resolved_settings(load_state(of_fold / STATE), of_fold / STATE).digests
        facts = {
            "sha256": sha256,
            "data_sha256": digest_of(dict(data)),
            "steps": int(last["step"]),
            "minutes": round(last["minutes"], 2),
        }
        write_text(folder / CELLS / f"{cell.name}.csv", scores_to_csv(scores))
        write_text(
            folder / CELLS / f"{cell.name}.json",
            json.dumps({**dataclasses.asdict(cell), **facts}) + "\n",
        )


def check_same_data(cells: Iterable[Cell], folder: Path) -> None:
    """Check that cells of the same fold and size had the same images and labels.

    Raises:
        DataError: if two of them differ.
    """
    first: dict[tuple[int, int | None], tuple[Cell, str]] = {}
    for cell in cells:
        file = folder / CELLS / f"{cell.name}.json"
        data = parse_object(file, lambda plain: str(plain["data_sha256"]), "remove it, to run this training again")
        other, digest = first.setdefault((cell.fold, cell.cases), (cell, data))
        if data != digest:
            raise DataError(
                f"{file}: had other images or labels than {other.name}: remove results and runs of the trainings "
                "on old data, to run them again"
            )


def _configure(study: Study, cell: Cell) -> tuple[Config, str]:
    """Return the configuration of a cell, and its digest."""
    config = study.arms[cell.arm]
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, fold=cell.fold),
        training=dataclasses.replace(config.training, seed=cell.seed),
    )
    return config, digest_of({"config": without_paths(config), "cases": cell.cases})


def _write_splits(config: Config, persons: int, ids: Sequence[str], subjects: Mapping[str, str], folder: Path) -> Path:
    """Write the splits of all folds with fewer persons to train on: the first of a random order of each fold."""
    splits = []
    for fold in range(config.data.folds):
        split = choose_split(dataclasses.replace(config.data, fold=fold), ids, subjects)
        names = sorted({subjects.get(case, case) for case in split.training})
        if persons > len(names):
            raise ConfigError(f"cases_trained_on: {persons}, but fold {fold} has only {len(names)} to train on")
        kept = set(np.random.RandomState([config.data.split_seed, fold]).permutation(names)[:persons])
        training = [case for case in split.training if subjects.get(case, case) in kept]
        splits.append({"train": training, "val": list(split.validation)})
    file = folder / f"splits-{persons}.json"
    write_text(file, json.dumps(splits, indent=1) + "\n")
    return file


def _score_of(row: Row, step: int, subjects: Mapping[str, str]) -> Score:
    found, subject = row.metrics, subjects.get(row.case, row.case)
    numbers = (found.dice, found.nsd, found.hd95_mm, found.reference_volume_ml)
    return Score(PREDICTION, step, row.case, subject, row.class_name, *numbers)
