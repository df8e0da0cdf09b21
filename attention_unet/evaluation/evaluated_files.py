"""What an evaluation was of: its classes and files, as ``scored.json`` keeps them for whoever wants to look."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.evaluation.result_files import SCORED, recorded_results
from attention_unet.files.atomic import write_text
from attention_unet.files.json_file import read_object
from attention_unet.files.prediction_folder import attention_levels, relative_path
from attention_unet.scans.labels import Labels


@dataclass(frozen=True)
class EvaluatedFiles:
    """Classes and files of the cases that were scored.

    Attributes:
        labels: the classes.
        references: true label map of each case.
        predicted: label map of each case that has a prediction.
        images: files of each case whose scan was named.
    """

    labels: Labels
    references: Mapping[str, Path]
    predicted: Mapping[str, Path]
    images: Mapping[str, Sequence[Path]]

    @property
    def folders(self) -> list[Path]:
        """Folders of the predictions."""
        return sorted({path.parent for path in self.predicted.values()})

    def attention_levels(self, case: str) -> list[int]:
        """Levels with an attention map of a case beside its prediction, the finest first."""
        return attention_levels(self.predicted[case].parent, case) if case in self.predicted else []


def write_evaluated_files(evaluation: Path, scored: EvaluatedFiles) -> None:
    """Write ``scored.json``; its paths are relative to its folder."""
    told = partial(relative_path, evaluation)
    plain = {
        "labels": scored.labels.to_json(),
        "cases": {
            case: {
                "reference": told(reference),
                "prediction": told(scored.predicted[case]) if case in scored.predicted else None,
                "images": [told(image) for image in scored.images.get(case, ())],
            }
            for case, reference in scored.references.items()
        },
        "files": {name: sums for name, sums in recorded_results(evaluation).items() if name != SCORED},
    }
    write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def read_evaluated_files(evaluation: Path) -> EvaluatedFiles:
    """Read it again.

    Raises:
        DataError: if there is none, or it is damaged.
    """

    def found(told: str) -> Path:
        return (evaluation / told).resolve()

    file = evaluation / SCORED
    if not file.is_file():
        raise DataError(f"{file}: is not there: expected the folder of an evaluation; make it with evaluate")
    plain = read_object(file)
    try:
        cases = dict(plain["cases"])
        return EvaluatedFiles(
            labels=Labels.from_json(plain["labels"]),
            references={case: found(of["reference"]) for case, of in cases.items()},
            predicted={case: found(of["prediction"]) for case, of in cases.items() if of["prediction"]},
            images={case: [found(image) for image in of["images"]] for case, of in cases.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file}: tells no files ({error!r}): expected what evaluate writes; evaluate into another folder"
        ) from error
