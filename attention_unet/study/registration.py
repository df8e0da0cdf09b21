"""The record of a study: what was fixed before its first training, and what has been changed since."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_unet.config import Config
from attention_unet.errors import DataError, plural
from attention_unet.files.json_file import parse_object
from attention_unet.preparation.plan import Plan
from attention_unet.study.design import Study, digest_of
from attention_unet.training.resolved_settings import without_paths

RECORD = "study.json"
ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class Amendment:
    """A change of a study after it was recorded.

    Attributes:
        date: when, UTC.
        trainings: number of trainings that were finished by then.
        changes: each field that changed, with its values before and after.
        reason: why, in the words of the user.
    """

    date: str
    trainings: int
    changes: list[str]
    reason: str

    def __str__(self) -> str:
        """Return the amendment as a sentence."""
        after = f"after {plural(self.trainings, 'training')}"
        return f"Amended on {self.date}, {after} ({'; '.join(self.changes)}): {self.reason}"


@dataclass(frozen=True)
class Registration:
    """A recorded study.

    Attributes:
        study: plain values of the study.
        date: when it was recorded, UTC.
        plan: plan of all trainings, for the values that the configuration leaves open.
        amendments: the changes since.
    """

    study: dict[str, Any]
    date: str
    plan: Plan
    amendments: list[Amendment]

    def to_plain(self) -> dict[str, Any]:
        """Return plain values, without their digest."""
        amendments = [dataclasses.asdict(each) for each in self.amendments]
        return {"study": self.study, "date": self.date, "plan": self.plan.to_json(), "amendments": amendments}

    @property
    def sha256(self) -> str:
        """Digest of all values."""
        return digest_of(self.to_plain())

    def digest_of_arm(self, arm: str) -> str:
        """Return the digest of what determines the trainings of an arm, apart from number of persons, seed and fold."""
        tables = {name: self.study[name] for name in ("splits_sha256", "subjects_sha256")}
        return digest_of({"config": self.study["arms"].get(arm), **tables})

    def changes(self, study: Study) -> list[str]:
        """Return what differs in a study: each field with its values before and now.

        A field that did not exist when the study was recorded counts as left at its default.
        """
        default = without_paths(Config())
        arms = {
            name: {section: {**fields, **arm.get(section, {})} for section, fields in default.items()}
            for name, arm in self.study["arms"].items()
        }
        return _differences({**self.study, "arms": arms}, json.loads(json.dumps(study.to_plain())))

    def sentences(self) -> list[str]:
        """Return when the study was recorded, and each amendment."""
        recorded = f"Recorded on {self.date}, sha256 {self.sha256}."
        return [recorded, *map(str, self.amendments)]


def read_registration(folder: Path) -> Registration:
    """Return the recorded study of a folder.

    Raises:
        DataError: if it is missing, damaged or was edited.
    """
    advice = "expected the record of a study; restore it, or choose another folder"
    found, sha256 = parse_object(folder / RECORD, _from_plain, advice)
    if found.sha256 != sha256:
        raise DataError(f"{folder / RECORD}: was edited: its sha256 is not that of its contents: restore it")
    return found


def _from_plain(plain: dict[str, Any]) -> tuple[Registration, str]:
    amendments = [
        Amendment(
            str(each["date"]), int(each["trainings"]), [str(text) for text in each["changes"]], str(each["reason"])
        )
        for each in plain["amendments"]
    ]
    found = Registration(dict(plain["study"]), str(plain["date"]), Plan.from_json(plain["plan"]), amendments)
    return found, str(plain["sha256"])


def _differences(before: object, now: object, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = {**before, **now}
        return [
            text for key in keys for text in _differences(before.get(key), now.get(key), f"{name}.{key}".strip("."))
        ]
    if before == now:
        return []
    if isinstance(before, dict) or isinstance(now, dict):
        return [f"{name} {'removed' if now is None else 'added'}"]
    return [f"{name}: {json.dumps(before)} {ARROW} {json.dumps(now)}"]
