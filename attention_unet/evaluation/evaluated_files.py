"""Write and read ``scored.json``: the classes and files of an evaluation. It marks the folder of an evaluation."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.json_file import parse_object, read_object, write_json
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_folder import attention_path
from attention_unet.places import PLACES
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import stem

SCORED = "scored.json"
RESULTS = ("metrics.csv", "summary.json", "picture.png", "calibration.csv", "attention.csv", "components.csv")
ADVICE = "expected what evaluate writes; evaluate again"  # end of messages about damaged results


@dataclass(frozen=True)
class EvaluatedFiles:
    """Classes and files of the cases that were scored."""

    labels: Labels
    cases: Mapping[str, Case]  # with true label maps, and with images if they were given
    predicted: Mapping[str, Path]  # predicted label map of each case that has one

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

    def attention_maps(self, case: str) -> dict[str, Path]:
        """Return the attention maps of a case beside its prediction, by place."""
        known = PLACES if case in self.predicted else ()
        paths = {place: attention_path(*self.folder_and_stem(case), place) for place in known}
        return {place: path for place, path in paths.items() if path.is_file()}


def write_evaluated_files(evaluation: Path, files: EvaluatedFiles) -> None:
    """Remove the results of an earlier evaluation and write ``scored.json``. Its paths are relative to its folder.

    An evaluation that is stopped then leaves no mixture of old and new results.
    """
    for name in RESULTS:
        (evaluation / name).unlink(missing_ok=True)
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
    write_json(evaluation / SCORED, plain)


def read_evaluated_files(evaluation: Path) -> EvaluatedFiles:
    """Read ``scored.json``. Raise DataError if the file cannot be read or is damaged."""

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

    # Evaluate never replaces a damaged record.
    return parse_object(evaluation / SCORED, parse, "expected what evaluate writes; evaluate into another folder")


def check_results(evaluation: Path) -> None:
    """Raise ConfigError if results in a folder are not those of an evaluation, with its ``scored.json`` beside them."""
    with suppress(DataError):
        if isinstance(read_object(evaluation / SCORED).get("cases"), dict):
            return
    if others := [name for name in (SCORED, *RESULTS) if os.path.lexists(evaluation / name)]:
        raise ConfigError(
            f"{evaluation}: holds {first_few(others)}, which evaluate did not write, or whose record is damaged: "
            "move it elsewhere, or name another folder"
        )
