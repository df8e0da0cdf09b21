"""Run the trainings of a study. Each leaves small files of results, and is not run again."""

import dataclasses
from pathlib import Path

from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.splits import smaller_splits
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import UserError
from attention_unet.files.atomic import STALE_SECONDS, remove_partials, write_text
from attention_unet.files.digest import sha256_of
from attention_unet.files.json_file import write_json
from attention_unet.files.lock import folder_lock
from attention_unet.files.run_folder import HISTORY, VALIDATIONS
from attention_unet.inference.model_file import versions
from attention_unet.scans.labels import FOREGROUND
from attention_unet.study.design import Cell, Study, digest_of
from attention_unet.study.finished import CACHE, CELLS, RUNS, CellRecord, finished_record
from attention_unet.study.registration import Registration, check_unchanged
from attention_unet.study.scores import PREDICTION, VALIDATION, Score, scores_to_csv
from attention_unet.training.checkpoint import STATE, load_state
from attention_unet.training.cross_validation import cross_validate
from attention_unet.training.history import read_history, read_validations
from attention_unet.training.learner import Diverged
from attention_unet.training.resolved_settings import read_resolved_settings


class NoResult(UserError):
    """A training diverged, or a held-out case of it could not be predicted. Other trainings may go on."""


def run_cell(study: Study, registration: Registration, cell: Cell, folder: Path) -> None:
    """Train, predict and score one cell, if it is not done. A run that was stopped is continued.

    Raises:
        Busy: if another process has this cell.
        ConfigError: if the study was amended meanwhile, or the cell cannot be trained as it is configured.
        NoResult: if the training diverged, or a held-out case failed.
        Interrupted: if the user stopped the training.
    """
    run = folder / RUNS / cell.group
    with folder_lock(folder / CELLS / f".{cell.name}", patience=0):
        check_unchanged(registration, folder)
        if finished_record(registration, cell, folder):  # another process may have just finished it
            return
        remove_partials(folder / CELLS, STALE_SECONDS)  # of a killed process
        config = study.arms[cell.arm]
        data = dataclasses.replace(config.data, fold=cell.fold, cache=config.data.cache or str(folder / CACHE))
        dataset = find_dataset(data)
        ids = [case.id for case in dataset.cases]
        subjects = find_subjects(data, dataset.root, ids)
        if cell.persons is not None:
            splits = folder / CELLS / f".{cell.name}" / "splits.json"
            write_json(splits, smaller_splits(data, cell.persons, ids, subjects))
            data = dataclasses.replace(data, splits=str(splits))
        config = dataclasses.replace(
            config, data=data, training=dataclasses.replace(config.training, seed=cell.training_seed)
        )
        # Whether small components are dropped would depend on which other folds are finished.
        try:
            found, failed = cross_validate(config, run, [cell.fold], keep_all_components=True)
        except Diverged as error:
            raise NoResult(f"{run}: {error}") from error
        held_out = found.held_out.get(cell.fold, [*failed])
        if reasons := [reason for case, reason in failed.items() if case in held_out]:
            raise NoResult(f"{run}: {reasons[0]}: cases failed, so this training has no result")
        of_fold = run / f"fold{cell.fold}"
        last = read_history(of_fold / HISTORY)[-1]
        scores = [
            Score(VALIDATION, row.step, row.case, subjects.get(row.case, row.case), row.class_name, row.dice)
            for row in read_validations(of_fold / VALIDATIONS)
        ]
        for row in found.rows:
            if row.case in held_out and row.class_name != FOREGROUND:
                person, metrics = subjects.get(row.case, row.case), row.metrics
                numbers = (metrics.dice, metrics.nsd, metrics.hd95_mm, metrics.reference_volume_ml)
                scores.append(Score(PREDICTION, int(last["step"]), row.case, person, row.class_name, *numbers))
        table = folder / CELLS / f"{cell.name}.csv"
        write_text(table, scores_to_csv(scores))
        digests = read_resolved_settings(load_state(of_fold / STATE), of_fold / STATE).digests
        record = CellRecord(
            cell=cell,
            arm_sha256=registration.digest_of_arm(cell.arm),
            scores_sha256=sha256_of(table),
            data_sha256=digest_of(dict(digests)),
            minutes=round(last["minutes"], 2),
            versions=versions(),
        )
        write_json(table.with_suffix(".json"), record.to_plain())
