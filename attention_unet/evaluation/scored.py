"""What an evaluation was of: its classes and files, as ``scored.json`` keeps them for whoever wants to look."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from attention_unet.atomic import replacing, write_text
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
        ConfigError: if not: they are of other origin, or were edited.
    """
    recorded = _recorded(evaluation)
    there = [name for name in RESULTS if os.path.lexists(evaluation / name)]
    others = [name for name in there if name not in recorded]
    if os.path.lexists(evaluation / SCORED) and SCORED not in recorded:
        others = [SCORED, *others]
    if others:
        raise ConfigError(
            f"{evaluation}: holds {some_of(others)}, which evaluate did not write, or whose record is damaged: move it "
            "elsewhere, or name another folder"
        )
    changed = [name for name in there if sha256_of(evaluation / name) not in recorded[name]]
    if changed:
        raise ConfigError(
            f"{evaluation}: {some_of(changed)} changed after evaluate wrote it: move it elsewhere, or name another "
            "folder"
        )


@contextmanager
def replacing_result(evaluation: Path, name: str) -> Iterator[Path]:
    """Give a temporary path to write a result to; then record its sha256, then move it into place.

    Wherever a process is killed, ``scored.json`` records the result that is there: the new one or the one before.

    Raises:
        DataError: if the folder cannot be written to or the disk is full.
    """
    with replacing(evaluation / name) as partial:
        yield partial
        plain, path = read_object(evaluation / SCORED), evaluation / name
        before = [sha256_of(path)] if path.is_file() else []
        plain["files"] = {**plain["files"], name: [*before, sha256_of(partial)]}
        write_text(evaluation / SCORED, json.dumps(plain, indent=1) + "\n")


def _recorded(evaluation: Path) -> dict[str, list[str]]:
    """sha256 of the results of an earlier evaluation, by name; nothing if ``scored.json`` is damaged or not ours."""
    try:
        plain = read_object(evaluation / SCORED)
    except DataError:
        return {}
    if not isinstance(plain.get("cases"), dict):
        return {}
    there = [name for name in RESULTS if (evaluation / name).is_file()]
    files = plain.get(
        "files", {name: [sha256_of(evaluation / name)] for name in there}
    )  # an earlier version's has none
    return {**files, SCORED: []} if isinstance(files, dict) else {}


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
        "files": {name: sums for name, sums in _recorded(evaluation).items() if name in RESULTS},
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
        raise DataError(
            f"{file}: tells no files ({error!r}): expected what evaluate writes; evaluate into another folder"
        ) from error
