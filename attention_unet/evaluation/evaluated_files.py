"""Write and read ``scored.json``: the classes and the files of an evaluation."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_unet.dataset.cases import Case
from attention_unet.errors import DataError
from attention_unet.evaluation.result_files import SCORED, read_result_hashes
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import parse_object
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_folder import attention_places
from attention_unet.scans.labels import Labels

ADVICE = "expected what evaluate writes; evaluate into another folder"  # evaluate never replaces a damaged record


@dataclass(frozen=True)
class EvaluatedFiles:
    """Classes and files of the cases that were scored.

    Attributes:
        labels: the classes.
        references: true label map of each case.
        predicted: predicted label map of each case that has one.
        images: image files of each case; empty if none were given.
        unannotated: classes that the label map does not annotate, of each case with any.
        drawn: cases whose images are drawn from their label maps.
    """

    labels: Labels
    references: Mapping[str, Path]
    predicted: Mapping[str, Path]
    images: Mapping[str, Sequence[Path]]
    unannotated: Mapping[str, Sequence[str]]
    drawn: Collection[str]

    @property
    def folders(self) -> list[Path]:
        """Folders of the predictions."""
        return sorted({path.parent for path in self.predicted.values()})

    def case(self, name: str) -> Case:
        """Return a case with its images and its true label map."""
        unannotated = tuple(self.unannotated.get(name, ()))
        return Case(name, tuple(self.images[name]), self.references[name], unannotated, drawn=name in self.drawn)

    def attention_places(self, case: str) -> list[str]:
        """Return the places with an attention map of a case beside its prediction."""
        return attention_places(self.predicted[case].parent, case) if case in self.predicted else []


def write_evaluated_files(evaluation: Path, files: EvaluatedFiles) -> None:
    """Write ``scored.json``. Its paths are relative to its folder."""
    plain = {
        "labels": files.labels.to_json(),
        "cases": {
            case: {
                "reference": relative_path(evaluation, reference),
                "prediction": relative_path(evaluation, files.predicted[case]) if case in files.predicted else None,
                "images": [relative_path(evaluation, image) for image in files.images.get(case, ())],
                "unannotated": list(files.unannotated.get(case, ())),
                "drawn": case in files.drawn,
            }
            for case, reference in files.references.items()
        },
        "files": {name: hashes for name, hashes in read_result_hashes(evaluation).items() if name != SCORED},
    }
    write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def read_evaluated_files(evaluation: Path) -> EvaluatedFiles:
    """Read ``scored.json``.

    Raises:
        DataError: if the file does not exist or is damaged.
    """

    def absolute(path: str) -> Path:
        return (evaluation / path).resolve()

    def parse(plain: Mapping[str, Any]) -> EvaluatedFiles:
        cases = dict(plain["cases"])
        return EvaluatedFiles(
            labels=Labels.from_json(plain["labels"]),
            references={case: absolute(each["reference"]) for case, each in cases.items()},
            predicted={case: absolute(each["prediction"]) for case, each in cases.items() if each["prediction"]},
            images={case: [absolute(image) for image in each["images"]] for case, each in cases.items()},
            unannotated={case: list(map(str, each.get("unannotated", ()))) for case, each in cases.items()},
            drawn=[case for case, each in cases.items() if each.get("drawn")],
        )

    file = evaluation / SCORED
    if not file.is_file():
        raise DataError(f"{file}: does not exist: expected the folder of an evaluation; make it with evaluate")
    return parse_object(file, parse, ADVICE)
