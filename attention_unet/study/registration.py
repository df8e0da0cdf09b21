"""The record of a study: what was fixed before its first training, and what has been changed since."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_unet.config import Config
from attention_unet.errors import ConfigError, DataError, plural
from attention_unet.files.json_file import parse_object
from attention_unet.preparation.plan import Plan
from attention_unet.study.design import Study, digest_of
from attention_unet.training.resolved_settings import without_paths

RECORD = "study.json"
ARROW = "\N{RIGHTWARDS ARROW}"
# Starts of changes that can turn a verdict, if they are made when results are known.
OF_VERDICTS = ("hypotheses", "margin", "persons", "seeds", "folds", "control", RECORD)


@dataclass(frozen=True)
class Amendment:
    """A change of a study after it was recorded."""

    date: str  # UTC
    trainings: int  # number of trainings whose results had been there by then, also of those put aside
    sha256_before: str  # digest of the record before the change
    changes: list[str]  # each field that changed, with its values before and after
    reason: str  # in the words of the user

    def __str__(self) -> str:
        """Return the amendment as a sentence."""
        after = f"after {plural(self.trainings, 'training')}"
        return f"Amended on {self.date}, {after} ({'; '.join(self.changes)}): {self.reason}"


@dataclass(frozen=True)
class Registration:
    """A recorded study."""

    study: dict[str, Any]  # plain values of the study
    date: str  # when it was recorded, UTC
    plan: dict[str, Any]  # values of the plan, as in the file: another version of the program may write other fields
    amendments: list[Amendment]

    @property
    def common_plan(self) -> Plan:
        """Plan of all trainings, for the values that the configuration leaves open."""
        return Plan.from_json(self.plan)

    @property
    def sha256(self) -> str:
        """Digest of all values."""
        return digest_of(dataclasses.asdict(self))

    def digest_of_arm(self, arm: str) -> str:
        """Return the digest of what determines the trainings of an arm, apart from number of persons, seed and fold."""
        plan, tables = self.common_plan, {name: self.study[name] for name in ("splits_sha256", "subjects_sha256")}
        planned = [plan.preprocessing.spacing_mm, plan.patch, plan.architecture.channels[0], plan.batch]
        model = self.study.get("models_sha256", {}).get(arm)
        start = {"model_sha256": model} if model else {}
        return digest_of({"config": self.study["arms"].get(arm), "planned": planned, **tables, **start})

    def changes(self, study: Study) -> list[str]:
        """Return what differs in a study: each field with its values before and now.

        A field that did not exist when the study was recorded counts as left at its default. A new arm is described by
        what differs from the first.
        """
        now = _plain(study)
        before = {**self.study, "arms": {name: _complete(arm) for name, arm in self.study["arms"].items()}}
        control = now["arms"][now["control"]]
        texts = []
        for name, arm in now["arms"].items():
            if name in before["arms"]:
                texts += _differences(before["arms"][name], arm, f"arms.{name}")
            else:
                texts.append(f"arms.{name} added ({'; '.join(_differences(control, arm))})")
        texts += [f"arms.{name} removed" for name in before["arms"] if name not in now["arms"]]
        return texts + _differences({**before, "arms": {}}, {**now, "arms": {}})

    def amended(self, study: Study, date: str, trainings: int, changes: list[str], reason: str) -> "Registration":
        """Return the registration of a study that has changed. Arms that have not changed stay as recorded."""
        plain = _plain(study)
        for name, arm in self.study["arms"].items():
            if name in plain["arms"] and _complete(arm) == plain["arms"][name]:
                plain["arms"][name] = arm
        amendment = Amendment(date, trainings, self.sha256, changes, reason)
        return dataclasses.replace(self, study=plain, amendments=[*self.amendments, amendment])

    def warnings(self) -> list[str]:
        """Return a sentence for each change after trainings were finished that may have been made to suit them."""
        return [
            f"Claims, margin, persons, seeds or folds were changed on {each.date}, or the record was missing, after "
            f"{plural(each.trainings, 'training')}: the verdicts are not those of claims made before."
            for each in self.amendments
            if each.trainings and any(text.startswith(OF_VERDICTS) for text in each.changes)
        ]

    def sentences(self) -> list[str]:
        """Return when the study was recorded, and each amendment."""
        digests = [*(each.sha256_before for each in self.amendments), self.sha256]
        recorded = f"Recorded on {self.date}, sha256 {digests[0]}."
        later = zip(self.amendments, digests[1:], strict=True)
        return [recorded, *(f"{amendment} (sha256 since: {sha256})" for amendment, sha256 in later)]


def read_registration(folder: Path) -> Registration:
    """Return the recorded study of a folder. Raise DataError if it is missing, damaged or was edited."""
    advice = "expected the record of a study; restore it, or choose another folder"
    found, sha256 = parse_object(folder / RECORD, _from_plain, advice)
    if found.sha256 != sha256:
        raise DataError(f"{folder / RECORD}: was edited: its sha256 is not that of its contents: restore it")
    return found


def check_unchanged(registration: Registration, folder: Path) -> None:
    """Raise ConfigError if another process has amended a study since it was read."""
    if (folder / RECORD).exists() and read_registration(folder).sha256 != registration.sha256:
        raise ConfigError(f"{folder / RECORD}: was amended meanwhile: repeat the command")


def _from_plain(plain: dict[str, Any]) -> tuple[Registration, str]:
    amendments = [Amendment(**each) for each in plain["amendments"]]
    found = Registration(dict(plain["study"]), str(plain["date"]), dict(plain["plan"]), amendments)
    Plan.from_json(found.plan)  # raises an error if it is damaged
    return found, str(plain["sha256"])


def _plain(study: Study) -> dict[str, Any]:
    """Return the values of a study as a file holds them."""
    return dict(json.loads(json.dumps(study.to_plain())))


def _complete(arm: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a recorded arm with the defaults of fields that it lacks."""
    default = json.loads(json.dumps(without_paths(Config())))
    return {section: {**fields, **arm.get(section, {})} for section, fields in default.items()}


def _differences(before: object, now: object, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = {**before, **now}
        return [
            text for key in keys for text in _differences(before.get(key), now.get(key), f"{name}.{key}".strip("."))
        ]
    return [] if before == now else [f"{name}: {json.dumps(before)} {ARROW} {json.dumps(now)}"]
