"""Write and read ``scored.json``: the classes and the files of an evaluation."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from attention_unet.dataset.cases import Case
from attention_unet.errors import DataError
from attention_unet.evaluation.result_files import SCORED
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import parse_object
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_folder import attention_places
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import stem

ADVICE = "expected what evaluate writes; evaluate into another folder"  # evaluate never replaces a damaged record


@dataclass(frozen=True)
class EvaluatedFiles:
    """Classes and files of the cases that were scored.

    Attributes:
        labels: the classes.
        cases: the cases, with true label maps, and with images if they were given.
        predicted: predicted label map of each case that has one.
    """

    labels: Labels
    cases: Mapping[str, Case]
    predicted: Mapping[str, Path]

    @property
    def folders(self) -> list[Path]:
        """Folders of the predictions."""
        return sorted({path.parent for path in self.predicted.values()})

    def reference(self, case: str) -> Path:
        """Return the true label map of a case."""
        return cast(Path, self.cases[case].label)

    def folder_and_stem(self, case: str) -> tuple[Path, str]:
        """Return the folder of a prediction, and the name by which other files of this case are there."""
        return self.predicted[case].parent, stem(self.predicted[case])

    def attention_places(self, case: str) -> list[str]:
        """Return the places with an attention map of a case beside its prediction."""
        return attention_places(*self.folder_and_stem(case)) if case in self.predicted else []


def write_evaluated_files(evaluation: Path, files: EvaluatedFiles) -> None:
    """Write ``scored.json``. Its paths are relative to its folder."""
    plain = {
        "labels": files.labels.to_json(),
        "cases": {
            name: {
                "reference": relative_path(evaluation, files.reference(name)),
                "prediction": relative_path(evaluation, files.predicted[name]) if name in files.predicted else None,
                "images": [relative_path(evaluation, image) for image in case.images],
                "absent": list(case.absent),
                "unannotated": list(case.unannotated),
                "synthetic": case.synthetic,
            }
            for name, case in files.cases.items()
        },
    }
    write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def read_evaluated_files(evaluation: Path) -> EvaluatedFiles:
    """Read ``scored.json``.

    Raises:
        DataError: if the file does not exist or is damaged.
    """

    def absolute(path: str) -> Path:
        return Path(os.path.normpath(evaluation.resolve() / path))

    def parse(plain: Mapping[str, Any]) -> EvaluatedFiles:
        cases = {
            name: Case(
                name,
                tuple(absolute(image) for image in each["images"]),
                absolute(each["reference"]),
                tuple(map(str, each["unannotated"])),
                tuple(map(int, each.get("absent", ()))),
                bool(each["synthetic"]),
            )
            for name, each in plain["cases"].items()
        }
        predicted = {name: absolute(each["prediction"]) for name, each in plain["cases"].items() if each["prediction"]}
        return EvaluatedFiles(Labels.from_json(plain["labels"]), cases, predicted)

    file = evaluation / SCORED
    if not file.is_file():
        raise DataError(f"{file}: does not exist: expected the folder of an evaluation; make it with evaluate")
    return parse_object(file, parse, ADVICE)
