"""Record a study before its first training. A study that changes afterwards is refused, unless a reason is given."""

import dataclasses
import datetime
import json
import logging
from pathlib import Path
from typing import Any

from attention_unet.dataset.cases import find_cases, locate_dataset
from attention_unet.errors import ConfigError
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import parse_object
from attention_unet.files.lock import folder_lock
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import Plan, fill_from_plan, make_plan
from attention_unet.study.design import Study, digest_of
from attention_unet.training.learner import build_network
from attention_unet.training.machine_speed import measure_machine

log = logging.getLogger(__name__)

REGISTRATION = "study.json"
WAITING = 3600.0  # seconds that another process may take to plan


@dataclasses.dataclass(frozen=True)
class Registration:
    """A recorded study.

    Attributes:
        study: plain values of the study.
        sha256: digest of these values.
        date: when it was recorded, UTC.
        plan: plan of all trainings, for the values that the configuration leaves open.
        amendments: for each change of the study: date, reason, and digest of the study before.
    """

    study: dict[str, Any]
    sha256: str
    date: str
    plan: Plan
    amendments: list[dict[str, str]]

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Registration":
        """Make a registration from the values in its file."""
        amendments = [{str(key): str(value) for key, value in each.items()} for each in plain["amendments"]]
        study = dict(plain["study"])
        return cls(study, str(plain["sha256"]), str(plain["date"]), Plan.from_json(plain["plan"]), amendments)


def register(study: Study, folder: Path, reason: str | None = None) -> tuple[Study, Registration]:
    """Record a study in its folder, or check that it is the recorded one.

    The values that the configuration leaves open, such as voxel size and patch, are planned once, for the first arm.

    Args:
        study: the study.
        folder: folder of its results.
        reason: why it differs from the recorded study; None: it must not differ.

    Returns:
        The study with planned values filled in, and its registration.

    Raises:
        ConfigError: if the study differs from the recorded one, and no reason is given.
        DataError: if the record is damaged.
    """
    plain = json.loads(json.dumps(study.to_plain()))
    with folder_lock(folder, WAITING):
        file = folder / REGISTRATION
        if file.exists():
            found = read_registration(folder)
            if found.sha256 != digest_of(plain):
                found = _amend(found, plain, file, reason)
        else:
            found = Registration(plain, digest_of(plain), _now(), next(iter(plan_arms(study).values())), [])
            _write(file, found)
            log.info("the study is recorded in %s, sha256 %s", file, found.sha256)
    arms = {name: fill_from_plan(config, found.plan) for name, config in study.arms.items()}
    return dataclasses.replace(study, arms=arms), found


def plan_arms(study: Study) -> dict[str, Plan]:
    """Return the plan of each arm, with the values that the configuration leaves open as planned for the first.

    The network of every arm is built once, to find mistakes before the first training.

    Raises:
        ConfigError: if the network of an arm cannot be built. It names the arm.
    """
    first = next(iter(study.arms.values()))
    dataset = find_cases(locate_dataset(first.data.root, first.data.dataset))
    fingerprint, machine = take_fingerprint(dataset.cases, dataset.labels), measure_machine(first.training)
    common = make_plan(first, dataset, fingerprint, machine)
    plans = {}
    for name, config in study.arms.items():
        try:
            plans[name] = make_plan(fill_from_plan(config, common), dataset, fingerprint, machine)
            build_network(plans[name])
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
    return plans


def read_registration(folder: Path) -> Registration:
    """Return the recorded study of a folder.

    Raises:
        DataError: if it is missing or damaged.
    """
    advice = "expected the record of a study; restore it, or choose another folder"
    found = parse_object(folder / REGISTRATION, Registration.from_json, advice)
    if digest_of(found.study) != found.sha256:
        raise ConfigError(f"{folder / REGISTRATION}: was edited: its sha256 is not that of its study: restore it")
    return found


def _amend(found: Registration, plain: dict[str, Any], file: Path, reason: str | None) -> Registration:
    changed = ", ".join(name for name in plain if plain[name] != found.study.get(name))
    if not reason:
        raise ConfigError(
            f"{file}: the study was recorded on {found.date}, and {changed} changed since: undo the change, or give "
            "the reason by --amend REASON; the report shows it"
        )
    change = {"date": _now(), "reason": reason, "changed": changed, "sha256_before": found.sha256}
    amended = dataclasses.replace(found, study=plain, sha256=digest_of(plain), amendments=[*found.amendments, change])
    _write(file, amended)
    log.warning("the study was amended (%s): %s", changed, reason)
    return amended


def _write(file: Path, registration: Registration) -> None:
    plain = {f.name: getattr(registration, f.name) for f in dataclasses.fields(registration)}
    write_text(file, json.dumps({**plain, "plan": registration.plan.to_json()}, indent=1) + "\n")


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
