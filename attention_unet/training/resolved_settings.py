"""What a run follows from, decided once: configuration, split and plan. A resumed run goes on with the very same."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.splits import Split, choose_split, split_of, write_split
from attention_unet.dataset.subjects import find_subjects, write_subjects
from attention_unet.errors import ConfigError, ModelError
from attention_unet.files.atomic import write_text
from attention_unet.files.prediction_folder import relative_path
from attention_unet.files.run_folder import CONFIG, PATHS, PLAN, SPLIT, SUBJECTS
from attention_unet.machine.devices import this_machine
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import PLANNED, Plan, fill_from_plan, make_plan
from attention_unet.training.checkpoint import TrainingState

log = logging.getLogger(__name__)

PLACE = ("root", "cache", "subjects", "splits")  # of data: files and folders of this machine
MAY_CHANGE = (  # on resume: they change no number of a training, or as little as another device does
    *(f"data.{name}" for name in PLACE),
    "data.workers",
    "training.checkpoint_minutes",
    "training.accelerator",
    "training.devices",
    "training.nodes",
)
MAY_BE_OVERRIDDEN = (  # what follows from it in a run that goes on is plain; all else was built into it
    "augmentation.",
    "data.foreground_share",
    *(f"training.{name}" for name in ("minutes", "steps", "epochs", "learning_rate", "warmup", "clip_norm")),
    *(f"training.{name}" for name in ("presence_weight", "average", "validations", "precision")),
)


@dataclass(frozen=True)
class ResolvedSettings:
    """All that a run follows from, beside the files of the dataset.

    Attributes:
        config: with what it left open filled in.
        split: cases to train on and held out.
        plan: of network and data.
        subjects: subject by case id; empty if nothing says which cases are of one person.
        digests: of image and label of each case; empty before they are read.
        threads: with which torch computes on the CPU; 0 if not known. Sums in another order differ in the last bits.
    """

    config: Config
    split: Split
    plan: Plan
    subjects: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Plain values, none of them a folder of this machine."""
        return {
            "config": _without_places(self.config),
            "split": {name: list(cases) for name, cases in dataclasses.asdict(self.split).items()},
            "plan": self.plan.to_json(),
            "subjects": dict(self.subjects),
            "digests": dict(self.digests),
            "threads": self.threads,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ResolvedSettings":
        """Inverse of ``to_plain``."""
        return cls(
            Config.from_plain(plain["config"]),
            split_of(plain["split"]),
            Plan.from_json(plain["plan"]),
            _texts(plain.get("subjects", {})),
            _texts(plain.get("digests", {})),
            int(plain.get("threads", 0)),
        )


def read_resolved_settings(state: TrainingState, file: Path) -> ResolvedSettings:
    """What the run of a state follows from.

    Raises:
        ModelError: if the state does not tell.
    """
    try:
        return ResolvedSettings.from_plain(state.settled)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{file}: tells of no run ({error!r}): resume with the version that wrote it") from error


def resolve_settings(config: Config, dataset: Dataset) -> ResolvedSettings:
    """Decide what a configuration leaves open."""
    ids = [case.id for case in dataset.cases]
    subjects = find_subjects(config.data, dataset.root, ids)
    split = choose_split(config.data, ids, subjects)
    plan = make_plan(config, dataset, take_fingerprint(dataset.cases), this_machine(config.training))
    return ResolvedSettings(fill_from_plan(config, plan), split, plan, subjects, threads=torch.get_num_threads())


def resume_settings(before: ResolvedSettings, config: Config, override: bool, run: Path) -> ResolvedSettings:
    """What a resumed run follows from: what it did before, with what of its configuration may be another now.

    Raises:
        ConfigError: if anything else is another, naming all of it.
    """
    old, new = _without_places(before.config), _without_places(config)
    changed = {
        f"{section}.{name}": (old.get(section, {}).get(name), value)
        for section, fields in new.items()
        for name, value in fields.items()
        if old.get(section, {}).get(name) != value
        and f"{section}.{name}" not in MAY_CHANGE
        and not (value is None and f"{section}.{name}" in PLANNED)
    }
    fixed = [name for name in changed if not name.startswith(MAY_BE_OVERRIDDEN)]
    if changed and (fixed or not override):
        told = "; ".join(f"{name} was {was}, is {value}" for name, (was, value) in changed.items())
        way = "undo that" if fixed else "undo that, accept it with --override"
        raise ConfigError(f"{run}: another configuration cannot be resumed: {told}: {way}, or name a new --run")
    if before.threads not in (0, torch.get_num_threads()):
        log.warning(
            "%s: began with %d threads, goes on with %d: weights will differ in their last bits from those of "
            "an unbroken run; OMP_NUM_THREADS sets the number",
            run,
            before.threads,
            torch.get_num_threads(),
        )
    return dataclasses.replace(before, config=fill_from_plan(config, before.plan))


def write_resolved_settings(run: Path, settled: ResolvedSettings, given: Config) -> None:
    """Write it for people and for the other commands: the run can be repeated from ``config.yaml`` alone.

    Folders are told in a file of their own, as seen from the run, so that no name of a user gets into what is shared.
    Subjects and a given split are copied into the run, and ``config.yaml`` names these copies.

    Args:
        run: its folder.
        settled: what to write.
        given: the configuration with the folders of this machine.
    """
    plain = settled.to_plain()
    dataset = Path(given.data.dataset)
    root = str(dataset.parent) if dataset.is_absolute() else given.data.root
    places = {"data.root": root, "data.cache": given.data.cache}
    told = {name: relative_path(run, Path(place)) for name, place in places.items() if place}
    write_text(run / PATHS, json.dumps(told, indent=2) + "\n")
    data = {name: value for name, value in plain["config"]["data"].items() if name not in PLACE}
    if given.data.splits:
        data["splits"] = SPLIT
    if settled.subjects:
        write_subjects(run / SUBJECTS, settled.subjects)
        data |= {} if given.data.subject_pattern else {"subjects": SUBJECTS}
    write_text(run / CONFIG, yaml.safe_dump({**plain["config"], "data": data}, sort_keys=False))
    write_text(run / PLAN, json.dumps(plain["plan"], indent=2) + "\n")
    write_split(run / SPLIT, settled.split, given.data.fold if given.data.splits else None)


def _texts(plain: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(text) for name, text in plain.items()}


def _without_places(config: Config) -> dict[str, dict[str, Any]]:
    plain = dataclasses.asdict(config)
    dataset = Path(config.data.dataset)
    own = {**dict.fromkeys(PLACE), "dataset": dataset.name if dataset.is_absolute() else config.data.dataset}
    return {**plain, "data": {**plain["data"], **own}}
