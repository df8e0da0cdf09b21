"""Record a study before its first training. A study that changes afterwards is refused, unless a reason is given."""

import dataclasses
import datetime
import itertools
import json
import logging
from contextlib import ExitStack
from pathlib import Path

from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.splits import check_held_out_once, choose_split, smaller_splits
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import ConfigError, first_few
from attention_unet.files.json_file import write_json
from attention_unet.files.lock import LONG_PATIENCE, folder_lock
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import fill_from_plan, make_plan
from attention_unet.study.costs import COSTS
from attention_unet.study.design import Study
from attention_unet.study.finished import (
    CACHE,
    CELLS,
    MAPS,
    RUNS,
    find_finished,
    find_results,
    finished_record,
    move_results,
)
from attention_unet.study.registration import RECORD, Registration, read_registration
from attention_unet.training.learner import build_network
from attention_unet.training.starting_weights import starting_plan
from attention_unet.training.trial import measure_machine

log = logging.getLogger(__name__)

# Starts of changes that need other trainings.
NEEDS_TRAINING = ("arms.", "folds", "persons", "splits", "subjects", "models")


def register(study: Study, folder: Path, reason: str | None = None, *, save: bool = True) -> tuple[Study, Registration]:
    """Record a study in its folder, or check that it is the recorded one.

    The values that the configuration leaves open, such as voxel size and patch, are planned once, for the first arm.
    Without ``save`` nothing is written. Return the study with planned values filled in, and its registration.

    Raises:
        Busy: if another process trains an arm that has changed.
        ConfigError: if the study differs from the recorded one, or trainings are finished and the record is missing,
            and no reason is given; if finished trainings are of another configuration; or if an arm cannot be trained.
        DataError: if the record is damaged.
    """
    with folder_lock(folder, LONG_PATIENCE), ExitStack() as locks:
        file = folder / RECORD
        known, finished = file.exists(), find_finished(folder)
        if not known and not finished:
            _check_folder(folder)
        found = read_registration(folder) if known else _new_registration(study)
        changes = found.changes(study) if known else [f"{RECORD} was missing"] if finished else []
        if changes and not (reason or "").strip():
            problem = (
                f"differs from the study recorded on {found.date}" if known else f"{changes[0]}, but there are results"
            )
            raise ConfigError(
                f"{file}: {problem} ({'; '.join(changes)}): undo that, or give "
                "the reason by --amend REASON; the page shows it"
            )
        outdated: list[Path] = []
        if changes:
            if known and any(text.startswith(NEEDS_TRAINING) and not text.endswith(" removed") for text in changes):
                _check_trainable(study, found.common_plan)
            seen = max([len(finished), *(each.trainings for each in found.amendments)])  # some may be put aside since
            before, found = found, found.amended(study, _now(), seen, changes, reason or "")
            changed = [arm for arm in before.study["arms"] if before.digest_of_arm(arm) != found.digest_of_arm(arm)]
            outdated = [path for arm in changed for path in find_results(arm, folder, locks)]
            for cell in study.cells():
                if cell.arm not in changed:
                    finished_record(found, cell, folder)  # before anything is written
            log.warning("%s", found.sentences()[-1])
        elif reason:
            log.warning("%s: nothing has changed: the reason is not recorded", file)
        if save and (changes or not known):
            content = {"sha256": found.sha256, **dataclasses.asdict(found)}
            write_json(file, content)
            log.info("the study is recorded in %s, sha256 %s", file, found.sha256)
        locks.close()  # a training that starts now finds the record changed
        if save and outdated:
            numbers = itertools.count(len(found.amendments))
            aside = next(path for n in numbers if not (path := folder / f"before-amendment-{n}").exists())
            move_results(outdated, folder, aside)
            log.warning("%s: results of arms that were changed or removed are moved to here", aside)
    arms = {name: fill_from_plan(arm, found.common_plan) for name, arm in study.arms.items()}
    return dataclasses.replace(study, arms=arms), found


def plan_arms(study: Study, common: Plan | None = None) -> dict[str, Plan]:
    """Return the plan of each arm.

    Values that the configuration leaves open are those of a common plan, by default that of the first arm. The network
    of every arm is built once, to find mistakes before the first training. If one cannot be built, raise a ConfigError
    that names the arm.
    """
    first = next(iter(study.arms.values()))
    dataset = find_dataset(first.data)
    machine, start = measure_machine(first.training), starting_plan(first)
    fingerprint = take_fingerprint(dataset.cases, dataset.labels, start)
    common = common or make_plan(first, dataset, fingerprint, machine, start=start)
    plans = {}
    for name, config in study.arms.items():
        try:
            filled = fill_from_plan(config, common)
            plans[name] = make_plan(filled, dataset, fingerprint, machine, start=starting_plan(config))
            build_network(plans[name])
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
    return plans


def _check_folder(folder: Path) -> None:
    """Check that the folder of a new study is free of other files."""
    ours = {COSTS, CELLS, RUNS, MAPS, CACHE}
    if others := [path.name for path in folder.iterdir() if path.name not in ours and not path.name.startswith(".")]:
        raise ConfigError(
            f"{folder}: holds {first_few(others)} and no {RECORD}: expected a new folder for the results: name one by "
            "--output"
        )


def _new_registration(study: Study) -> Registration:
    plan = _check_trainable(study).to_json()
    return Registration(*json.loads(json.dumps([study.to_plain(), _now(), plan, []])))


def _check_trainable(study: Study, common: Plan | None = None) -> Plan:
    """Check that every arm can be trained, with every number of persons on every fold. Return the plan of the first."""
    first = next(iter(study.arms.values()))
    dataset = find_dataset(first.data)
    ids = [case.id for case in dataset.cases]
    subjects = find_subjects(first.data, dataset.root, ids)
    check_held_out_once(
        {fold: choose_split(dataclasses.replace(first.data, fold=fold), ids, subjects) for fold in study.folds}
    )
    for persons in study.persons:
        if persons is not None:
            smaller_splits(first.data, persons, ids, subjects)
    return next(iter(plan_arms(study, common).values()))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
