"""Resolve the settings of a run once: configuration, split and plan. A resumed run uses the same settings."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.splits import Split, choose_late_cases, choose_split, parse_split, write_split
from attention_unet.dataset.subjects import find_subjects, write_subjects
from attention_unet.errors import ConfigError, ModelError
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import write_json
from attention_unet.files.paths import relative_path
from attention_unet.files.run_folder import CONFIG, PATHS, PLAN, SPLIT, SUBJECTS
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.inference.trained_on import TrainedOn
from attention_unet.machine.devices import choose_precision
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import configure_like, fill_from_plan, make_plan
from attention_unet.preparation.spacing import describe_view
from attention_unet.training.checkpoint import TrainingState
from attention_unet.training.starting_weights import Origin
from attention_unet.training.trial import measure_machine

log = logging.getLogger(__name__)

PATH_FIELDS = ("root", "cache", "subjects", "splits")  # fields of data that hold paths of this machine
MAY_CHANGE = (  # on resume: they do not change the result, except for rounding
    *(f"data.{name}" for name in PATH_FIELDS),
    "data.workers",
    "training.checkpoint_minutes",
    "training.accelerator",
    "training.devices",
    "training.nodes",
)
OF_THE_PLAN = ("augmentation.flip_axes", "augmentation.drop_channel")  # also in the plan, which does not change
MAY_BE_OVERRIDDEN = (  # with --override: they affect the remaining steps only
    "augmentation.",
    "data.foreground_share",
    "data.balance_classes",
    *(f"training.{name}" for name in ("minutes", "steps", "learning_rate", "warmup", "clip_norm")),
    *(f"training.{name}" for name in ("presence_weight", "average", "validations", "precision", "fixed_encoder")),
)


@dataclass(frozen=True)
class ResolvedSettings:
    """Settings that determine the result of a run, together with the files of the dataset."""

    config: Config  # with planned values filled in
    split: Split
    plan: Plan
    subjects: Mapping[str, str] = field(default_factory=dict)  # by case id; empty if they are unknown
    digests: Mapping[str, str] = field(default_factory=dict)  # of image and label by case id; empty until read
    threads: int = 0  # of torch; 0: unknown. Their number changes the order of sums, so the last bits of the weights
    origin: Origin | None = None  # model that the training started from; None: new weights

    @property
    def trained_on(self) -> TrainedOn | None:
        """The training cases, with those of the model that the training started from; None if those are unknown."""
        cases = TrainedOn.of({case: self.digests[case] for case in self.split.training})
        if not self.origin:
            return cases
        return self.origin.trained_on and self.origin.trained_on.joined(cases)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values without folders of this machine."""
        return {
            "config": without_paths(self.config),
            "split": {name: list(cases) for name, cases in dataclasses.asdict(self.split).items()},
            "plan": self.plan.to_json(),
            "subjects": dict(self.subjects),
            "digests": dict(self.digests),
            "threads": self.threads,
            "origin": self.origin.to_json() if self.origin else None,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ResolvedSettings":
        """Return settings from the result of ``to_plain``."""
        return cls(
            Config.from_plain(plain["config"]),
            parse_split(plain["split"]),
            Plan.from_json(plain["plan"]),
            dict(plain["subjects"]),
            dict(plain["digests"]),
            int(plain["threads"]),
            Origin.from_json(plain["origin"]) if plain.get("origin") else None,
        )


def read_resolved_settings(state: TrainingState, file: Path) -> ResolvedSettings:
    """Return the settings of the run in a saved state. Raise ModelError if it has no valid ones."""
    try:
        return ResolvedSettings.from_plain(state.settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{file}: has no valid settings of a run ({error!r}): resume with the version that wrote it"
        ) from error


def resolve_settings(
    config: Config, dataset: Dataset, whole_scans: bool = False, start: Model | None = None
) -> ResolvedSettings:
    """Return the settings of a new run: choose the split and plan the values that the configuration leaves open.

    The plan is for whole scans, or for the part that a locator finds. With a model to start from, it keeps the network
    of that model.
    """
    ids = [case.id for case in dataset.cases]
    subjects = find_subjects(config.data, dataset.root, ids)
    split, judged = hold_out_cases(config, ids, subjects)
    fingerprint = take_fingerprint(dataset.cases, dataset.labels, start.plan if start else None)
    if start:
        config = configure_like(config, start.plan)
    machine = measure_machine(config.training)
    plan = make_plan(config, dataset, fingerprint, machine, whole_scans or not judged, start.plan if start else None)
    log.info("a patch sees %s", describe_view(fingerprint, plan))
    name = Path(config.training.start_from or "").name
    origin = Origin(name, start.sha256, start.trained_on) if start else None
    threads = torch.get_num_threads()
    return ResolvedSettings(fill_from_plan(config, plan), split, plan, subjects, threads=threads, origin=origin)


def check_images(dataset: Dataset, synthesize: float) -> None:
    """Raise ConfigError if a dataset lacks images, and not all are to be synthesized."""
    if any(case.synthetic for case in dataset.cases) and synthesize < 1:
        raise ConfigError(
            f"{dataset.root}: has label maps and no images: add them, or set augmentation.synthesize to 1 to make some"
        )


def hold_out_cases(config: Config, ids: Sequence[str], subjects: Mapping[str, str]) -> tuple[Split, bool]:
    """Return the split of cases, and whether some of them, held out or trained on late, can judge a locator."""
    split = choose_split(config.data, ids, subjects)
    return split, bool(split.validation or choose_late_cases(split.training, subjects, config.training.seed))


def resume_settings(before: ResolvedSettings, config: Config, override: bool, run: Path) -> ResolvedSettings:
    """Return the settings of a resumed run: the new configuration, with split, plan and subjects of the earlier run.

    Raise ConfigError that names all changed fields except those in MAY_CHANGE. With ``override`` fields in
    MAY_BE_OVERRIDDEN may change, too, except OF_THE_PLAN.
    """
    config = configure_like_start(before, config)
    changed = changed_fields(before, config)
    fixed = [name for name in changed if name in OF_THE_PLAN or not name.startswith(MAY_BE_OVERRIDDEN)]
    if changed and (fixed or not override):
        changes, advice = "; ".join(changed.values()), "" if fixed else ", accept it with --override"
        raise ConfigError(
            f"{run}: the configuration changed since the run began: {changes}: undo the change{advice}, or choose a "
            "new --run"
        )
    return dataclasses.replace(before, config=fill_from_plan(config, before.plan))


def configure_like_start(before: ResolvedSettings, config: Config) -> Config:
    """Return a configuration with the network of the model that a run started from. Raise ConfigError for another."""
    start, given = before.config.training.start_from, config.training.start_from
    if not before.origin:
        return config
    if _is_another(before.origin, given, start):
        raise ConfigError(
            f"training.start_from was {start}, is {given}, another model: undo the change, or choose a new --run"
        )
    training = dataclasses.replace(config.training, start_from=start)
    return configure_like(dataclasses.replace(config, training=training), before.plan)


def changed_fields(before: ResolvedSettings, config: Config) -> dict[str, str]:
    """Return the fields of a configuration that would change the result of a run, each with both values in words."""
    old, new = (without_paths(fill_from_plan(each, before.plan)) for each in (before.config, config))
    return {
        f"{section}.{name}": f"{section}.{name} was {old[section][name]}, is {value}"
        for section, fields in new.items()
        for name, value in fields.items()
        if old[section][name] != value and f"{section}.{name}" not in MAY_CHANGE
    }


def warn_of_machine(before: ResolvedSettings, state: TrainingState, device: torch.device, run: Path) -> None:
    """Warn if a run continues with other threads, on a CPU after a GPU, or in bfloat16 where that is slow."""
    config = before.config.training
    if device.type == "cpu" and state.learner.device_generator is not None:
        log.warning(
            "%s: was trained on a GPU so far, and continues on the CPU, where steps take many times as long: resume it "
            "on a machine with a GPU",
            run,
        )
    elif device.type == "cpu" and config.steps is not None and before.threads != torch.get_num_threads():
        log.warning(
            "%s: began with %d threads, continues with %d: the last bits of the weights will differ from those of an "
            "uninterrupted run; set OMP_NUM_THREADS to the first number",
            run,
            before.threads,
            torch.get_num_threads(),
        )
    if config.precision == "bfloat16" and choose_precision("auto", device) != torch.bfloat16:
        log.warning(
            "%s: began in bfloat16, which is slow on this device: resume it on another, or with --override "
            "--training.precision float32",
            run,
        )


def _is_another(origin: Origin, given: str | None, before: str | None) -> bool:
    """Return whether a resumed run names another model to start from. The file of its own may be gone."""
    if not given or given == before:
        return False
    try:
        return load_model(given).sha256 != origin.sha256
    except ModelError:
        return Path(given).name != Path(before or "").name


def write_resolved_settings(run: Path, settings: ResolvedSettings, given: Config) -> None:
    """Write settings as files that people and other commands read. The run folder can repeat the run.

    Folders of this machine go into a file of their own, relative to the run folder, so that shared files contain no
    user names. Split and subjects are written into the run folder; ``config.yaml`` refers to these files if files were
    given.
    """
    plain = settings.to_plain()
    dataset = Path(given.data.dataset)
    root = str(dataset.parent) if dataset.is_absolute() else given.data.root
    start = given.training.start_from
    model = start if start and Path(start).exists() else None  # not the name of a model of this package
    folders = {"data.root": root, "data.cache": given.data.cache, "training.start_from": model}
    paths = {name: relative_path(run, Path(folder)) for name, folder in folders.items() if folder}
    write_json(run / PATHS, paths)
    data = {name: value for name, value in plain["config"]["data"].items() if name not in PATH_FIELDS}
    if given.data.splits:
        data["splits"] = SPLIT
    (run / SUBJECTS).unlink(missing_ok=True)  # it may be of a start without these persons
    if settings.subjects:
        write_subjects(run / SUBJECTS, settings.subjects)
        data |= {} if given.data.subject_pattern else {"subjects": SUBJECTS}
    training = plain["config"]["training"] | ({"start_from": Path(model).name} if model else {})
    written = {**plain["config"], "data": data, "training": training}
    write_text(run / CONFIG, yaml.safe_dump(written, sort_keys=False))
    write_json(run / PLAN, plain["plan"])
    write_split(run / SPLIT, settings.split, given.data.fold if given.data.splits else None)


def without_paths(config: Config) -> dict[str, dict[str, Any]]:
    """Return a configuration as plain values, with path fields set to None and dataset and model without folders."""
    plain = dataclasses.asdict(config)
    start = config.training.start_from
    return {
        **plain,
        "data": {**plain["data"], **dict.fromkeys(PATH_FIELDS), "dataset": without_folder(config.data.dataset)},
        "training": {**plain["training"], "start_from": start and Path(start).name},
    }


def without_folder(path: str) -> str:
    """Return the last part of an absolute path; a relative one as it is."""
    return Path(path).name if Path(path).is_absolute() else path
