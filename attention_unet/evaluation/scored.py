"""What an evaluation was of: its classes and files, as ``scored.json`` keeps them for whoever wants to look."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from attention_unet.atomic import write_text
from attention_unet.data.labels import Labels
from attention_unet.data.predictions import seen_from
from attention_unet.digest import sha256_of
from attention_unet.errors import ConfigError, DataError, some_of
from attention_unet.json_file import read_object

SCORED = "scored.json"
RESULTS = ("metrics.csv", "summary.json", "picture.png", "calibration.csv", "calibration.png", "attention.csv")


@dataclass(frozen=True)
class Scored:
    """Classes and files of the cases that were scored.

    Attributes:
        labels: the classes.
        predictions: folder of the predictions.
        references: true label map of each case.
        predicted: label map of each case that has a prediction.
        images: files of each case whose scan was named.
    """

    labels: Labels
    predictions: Path
    references: Mapping[str, Path]
    predicted: Mapping[str, Path]
    images: Mapping[str, Sequence[Path]]


def check_results(evaluation: Path) -> None:
    """Check that an evaluation wrote the results that lie in a folder, as they are now.

    Raises:
        ConfigError: if not: they are another's, or were edited.
    """
    recorded = _recorded(evaluation)
    there = [name for name in RESULTS if os.path.lexists(evaluation / name)]
    if others := [name for name in there if name not in recorded]:
        raise ConfigError(
            f"{evaluation}: holds {some_of(others)}, which evaluate did not write: name another folder with -o"
        )
    results = {name: evaluation / name for name in there}
    if changed := [name for name, path in results.items() if path.is_symlink() or sha256_of(path) != recorded[name]]:
        raise ConfigError(
            f"{evaluation}: {some_of(changed)} changed after evaluate wrote it: move it elsewhere, or name another "
            "folder with -o"
        )


def record_results(evaluation: Path, *names: str) -> None:
    """Record in ``scored.json`` the sha256 of results that were just written, or that they are no longer there."""
    plain = read_object(evaluation / SCORED)
    files = {name: sha256 for name, sha256 in plain["files"].items() if name not in names}
    files |= {name: sha256_of(evaluation / name) for name in names if (evaluation / name).is_file()}
    write_text(evaluation / SCORED, json.dumps({**plain, "files": files}, indent=1) + "\n")


def _recorded(evaluation: Path) -> dict[str, str]:
    """sha256 of the results of an earlier evaluation, by name."""
    try:
        files = read_object(evaluation / SCORED).get("files")
    except DataError:
        return {}
    return dict(files) if isinstance(files, dict) else {}


def write_scored(evaluation: Path, scored: Scored) -> None:
    """Write ``scored.json``; its paths are relative to its folder."""
    told = partial(seen_from, evaluation)
    plain = {
        "labels": scored.labels.to_json(),
        "predictions": told(scored.predictions),
        "cases": {
            case: {
                "reference": told(reference),
                "prediction": told(scored.predicted[case]) if case in scored.predicted else None,
                "images": [told(image) for image in scored.images.get(case, ())],
            }
            for case, reference in scored.references.items()
        },
        "files": _recorded(evaluation),
    }
    write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def read_scored(evaluation: Path) -> Scored:
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
        return Scored(
            labels=Labels.from_json(plain["labels"]),
            predictions=found(plain["predictions"]),
            references={case: found(of["reference"]) for case, of in cases.items()},
            predicted={case: found(of["prediction"]) for case, of in cases.items() if of["prediction"]},
            images={case: [found(image) for image in of["images"]] for case, of in cases.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: tells no files ({error!r}): expected what evaluate writes; evaluate again") from error
