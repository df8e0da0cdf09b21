"""The finished trainings of a study: which there are, and whether their results may be compared."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_unet.errors import ConfigError, DataError
from attention_unet.files.digest import sha256_of
from attention_unet.files.json_file import parse_object
from attention_unet.files.lock import folder_lock
from attention_unet.study.design import Cell, Study
from attention_unet.study.registration import Registration
from attention_unet.study.scores import Score, read_scores

# Folders of results, trainings, checks of attention maps, and preprocessed cases.
CELLS, RUNS, MAPS, CACHE = "cells", "runs", "maps", "cache"
AGAIN = "remove it, to run this training again"

Results = Mapping[Cell, Sequence[Score]]


@dataclass(frozen=True)
class CellRecord:
    """What is known of a finished training, besides its scores."""

    cell: Cell
    arm_sha256: str  # digest of the recorded configuration of its arm
    scores_sha256: str  # digest of the table of its scores
    data_sha256: str  # digest of the images and labels of its cases
    minutes: float  # time of the training
    versions: dict[str, str]  # of the libraries

    def to_plain(self) -> dict[str, Any]:
        """Return plain values."""
        plain = dataclasses.asdict(self)
        return {**plain.pop("cell"), **plain}


def find_finished(folder: Path) -> list[Path]:
    """Return the records of all finished trainings in the folder of a study, also of arms that it no longer has."""
    return sorted((folder / CELLS).glob("[!.]*.json"))  # without unfinished files


def find_results(arm: str, folder: Path, locks: ExitStack) -> list[Path]:
    """Lock all trainings of an arm, finished or not, and return their files and folders.

    Raise Busy if another process has one of these trainings.
    """
    name = re.compile(rf"\.?{re.escape(arm)}-(all|[0-9]+)-seed[0-9]+(-fold[0-9]+(\.csv|\.json)?)?")
    folders = [folder / kind for kind in (CELLS, RUNS) if (folder / kind).is_dir()]
    found = sorted(path for each in folders for path in each.iterdir() if name.fullmatch(path.name))
    for path in found:
        if path.parent.name == CELLS and path.is_dir():  # holds the lock of a training
            locks.enter_context(folder_lock(path, patience=0))
    return found


def move_results(paths: Sequence[Path], folder: Path, aside: Path) -> None:
    """Move files and folders of results from the folder of a study to the same places in another folder."""
    for path in paths:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(target)


def finished_record(registration: Registration, cell: Cell, folder: Path) -> CellRecord | None:
    """Return the record of a training; None if it is not finished.

    Raise ConfigError if it was run with another configuration, DataError if the record is damaged or of another
    training, or the scores are missing or were edited.
    """

    def build(plain: dict[str, Any]) -> CellRecord:
        found = Cell(*(plain[field.name] for field in dataclasses.fields(Cell)))
        if found != cell:
            raise ValueError(f"of {found.name}")
        arm, scores, data = (str(plain[name]) for name in ("arm_sha256", "scores_sha256", "data_sha256"))
        versions = {str(name): str(version) for name, version in plain["versions"].items()}
        return CellRecord(cell, arm, scores, data, float(plain["minutes"]), versions)

    file = folder / CELLS / f"{cell.name}.json"
    if not file.exists():
        return None
    record, scores = parse_object(file, build, AGAIN), file.with_suffix(".csv")
    if not scores.exists() or sha256_of(scores) != record.scores_sha256:
        raise DataError(f"{scores}: is missing or was edited: restore it, or remove {file}, to run this training again")
    if record.arm_sha256 != registration.digest_of_arm(cell.arm):
        run = folder / RUNS / cell.group / f"fold{cell.fold}"
        raise ConfigError(f"{file}: is of another configuration than the study's: remove it and {run}, to run it again")
    return record


def read_records(study: Study, registration: Registration, folder: Path) -> dict[Cell, CellRecord]:
    """Return the records of all finished trainings.

    Raise ConfigError if a training was run with another configuration, DataError if one is damaged, or trainings on the
    same cases had different data.
    """
    records = {cell: record for cell in study.cells() if (record := finished_record(registration, cell, folder))}
    first: dict[tuple[int, int | None] | None, CellRecord] = {}
    for cell, record in records.items():
        # Every fold uses all cases, unless a file of splits or a number of persons leaves some out.
        of_all = cell.persons is None and study.arms[cell.arm].data.splits is None
        other = first.setdefault(None if of_all else (cell.fold, cell.persons), record)
        if record.data_sha256 != other.data_sha256:
            raise DataError(
                f"{folder / CELLS / cell.name}.json: had other images or labels than {other.cell.name}: remove results "
                "and runs of the trainings on old data, to run them again"
            )
    return records


def read_results(records: Iterable[Cell], folder: Path) -> Results:
    """Return the scores of finished trainings. Raise DataError if they are damaged, or as ``check_comparable`` does."""
    results = {cell: read_scores(folder / CELLS / f"{cell.name}.csv") for cell in records}
    check_comparable(results)
    return results


def check_comparable(results: Results) -> None:
    """Raise DataError if a fold's trainings differ in structures, cases or persons, or folds share cases or persons."""
    of_folds: dict[int, tuple[Cell, set[tuple[str, str, str, str]]]] = {}
    of_names: dict[str, Cell] = {}
    for cell, scores in results.items():
        structures = {(score.case, score.subject, score.class_name, score.stage) for score in scores}
        other, expected = of_folds.setdefault(cell.fold, (cell, structures))
        if structures != expected:
            case, person, name, stage = min(structures ^ expected)
            raise DataError(
                f"{cell.name} and {other.name}: only one of them has a {stage} of {name} of case {case} of person "
                f"{person}: expected the same held-out cases, persons and classes: run one of them again"
            )
        for name in {name for score in scores for name in (f"case {score.case}", f"person {score.subject}")}:
            other = of_names.setdefault(name, cell)
            if other.fold != cell.fold:
                raise DataError(
                    f"{cell.name} and {other.name}: {name} is held out in both: expected folds without common persons: "
                    "have the subjects changed? Run the older trainings again"
                )
