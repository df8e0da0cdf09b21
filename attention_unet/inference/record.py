"""Write ``run.json``, the record of a folder of predictions."""

import errno
import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, DataError, plural
from attention_unet.files.digest import sha256_of, state_of
from attention_unet.files.json_file import write_json
from attention_unet.files.lock import record_lock
from attention_unet.files.part import Part
from attention_unet.files.paths import relative_path
from attention_unet.files.prediction_record import JOURNAL, RECORD, read_record, recorded_files
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import versions
from attention_unet.inference.predict_volume import choose_overlap
from attention_unet.inference.settings import Settings
from attention_unet.scans.volume_files import list_files

log = logging.getLogger(__name__)

MAY_DIFFER = ("labels", "versions", "models")  # in descriptions of equal predictions


def describe_predictions(
    models: Sequence[Model], settings: Settings, cleaned: Sequence[str], output: Path
) -> dict[str, Any]:
    """Describe the predictions of a folder: models, settings and labels.

    ``cleaned`` are the classes whose small components were dropped. Paths of models are relative to ``output``.
    """
    plan = models[0].plan
    return {
        "labels": plan.labels.to_json(),
        "models_sha256": [model.sha256 for model in models],
        "overlap": choose_overlap(models, settings),
        "whole_scan": settings.whole_scan,
        "tta": settings.tta,
        "drop_small": list(cleaned),
        "channel": settings.channel,
        "missing": sorted(set(settings.missing)),
        "file_format": settings.file_format,
        "codes": {name: asdict(code) for name, code in settings.codes.items()},
        "versions": versions(),
        "models": [relative_path(output, model.file) for model in models if model.file],
    }


def update_record(output: Path, facts: Mapping[str, Any]) -> None:
    """Add facts to ``run.json``. Those of cases, and reasons of failure, are added to those of other cases."""
    with changing_record(output) as record:
        cases = {**record.get("cases", {}), **facts.get("cases", {})}
        failed = {**record.get("failed", {}), **facts.get("failed", {})}
        record.update(facts)
        record["cases"], record["failed"] = cases, {name: why for name, why in failed.items() if name not in cases}


def is_same(record: Mapping[str, Any], description: Mapping[str, Any]) -> bool:
    """Return whether predictions of a record are of the same models and settings as a description."""
    return all(record.get(key) == description[key] for key in description.keys() - MAY_DIFFER)


def begin_part(
    output: Path, description: Mapping[str, Any], part: Part, everything: Collection[str], cases: Iterable[str]
) -> None:
    """Write into ``run.json`` what will be predicted, and that this part is not finished.

    ``cases`` are those that this part will predict. Their earlier predictions count as unfinished, so that a later call
    may remove their files if this process is killed. Failures of cases that are not in ``everything``, all cases of the
    input, are forgotten. Raise ConfigError if another part has begun with another model or other settings, DataError if
    ``run.json`` cannot be read.
    """
    if (output / JOURNAL).exists():  # into run.json first: a kill could bring back what is dropped below
        with changing_record(output):
            pass
    with changing_record(output) as record:
        before = record.get("parts", part.count)
        if before != part.count and part.count > 1:
            log.warning(
                "%s: was predicted in %s: repeat all %d with --resume", output, plural(before, "part"), part.count
            )
        alike = part.count > 1 and before == part.count
        if alike and record.get("complete") is False and not is_same(record, description):
            raise ConfigError(
                f"{output / RECORD}: is of another model or other options: give all parts the same, or another "
                "folder with -o"
            )
        finished = record.get("finished_parts", []) if alike else []
        predicted, begun, failed = (record.setdefault(key, {}) for key in ("cases", "begun", "failed"))
        new = [case for case in everything if case not in predicted and case not in failed]
        finished = [n for n in finished if not any(replace(part, number=n).has(case) for case in new)]
        for case in cases:
            if files := recorded_files(record, case):
                begun[case] = files
            predicted.pop(case, None)
            failed.pop(case, None)
        record.update(description)
        record["failed"] = {name: why for name, why in failed.items() if part.count > 1 and name in everything}
        record["parts"], record["complete"] = part.count, False
        record["finished_parts"] = [number for number in finished if number != part.number]


def finish_part(output: Path, part: Part) -> bool:
    """Write into ``run.json`` that a part is finished. Return whether all parts are.

    Raise DataError if ``run.json`` cannot be read, or was removed meanwhile.
    """
    with changing_record(output) as record:
        if "finished_parts" not in record:
            raise DataError(f"{output / RECORD}: was removed during the prediction: predict again with another -o")
        record["finished_parts"] = sorted({*record["finished_parts"], part.number})
        record["complete"] = len(record["finished_parts"]) == record["parts"]
        return bool(record["complete"])


@contextmanager
def changing_record(output: Path) -> Iterator[dict[str, Any]]:
    """Yield ``run.json`` with the journal; write what it is then, and remove the journal, whose content is in it.

    Raise DataError if ``run.json`` is there and cannot be read; it stays as it is.
    """
    with record_lock(output):
        record = read_record(output)
        if not record and os.path.lexists(output / RECORD):
            raise DataError(f"{output / RECORD}: cannot be read, or is damaged: restore it, or name another folder")
        yield record
        failed, begun, cases = (record.pop(key, {}) for key in ("failed", "begun", "cases"))
        begun = {case: files for case, files in begun.items() if case not in cases}
        plain = {**record, "failed": failed, "begun": begun, "cases": cases}  # the long ones last, for people
        write_json(output / RECORD, plain)
        (output / JOURNAL).unlink(missing_ok=True)


def note(output: Path, entry: Mapping[str, Any]) -> None:
    """Write a line into the journal: ``{"begun": {case: files}}`` or ``{"cases": {case: facts}}``.

    This takes the same time for any number of cases, unlike writing ``run.json``. Raise DataError if it fails.
    """
    try:
        with record_lock(output), (output / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(f"\n{json.dumps(entry)}\n")  # a new line, after half of one
            journal.flush()
            os.fsync(journal.fileno())
    except OSError as error:
        raise DataError(f"{output / JOURNAL}: cannot be written ({error.strerror}): free space") from error


def move_into_place(stage: Path, files: Iterable[Path], output: Path, case: str) -> dict[str, str]:
    """Move the files of a case from a temporary folder, in order, to the same paths in the output folder.

    Return the sha256 of each file by its path. They are written into the journal before: if the process is killed,
    every file that it moved is recorded there; it did not write the other files in the output folder.

    Raise DataError if the journal cannot be written, another file is in one of the places, or a file cannot be moved.
    No file is left in place then; the journal keeps its line.
    """
    hashes = hash_files(stage, files)
    moved: list[Path] = []
    note(output, {"begun": {case: hashes}})
    try:
        for name in hashes:
            (output / name).parent.mkdir(exist_ok=True)
            if os.path.lexists(output / name):
                raise FileExistsError(errno.EEXIST, "another file appeared there")
            (stage / name).replace(output / name)
            moved.append(output / name)
    except OSError as error:
        for path in moved:
            path.unlink(missing_ok=True)
        raise DataError(
            f"{output}: {case} cannot be written ({error.strerror}): free space or change the folder"
        ) from error
    return hashes


def add_files(output: Path, case: str, files: Iterable[Path]) -> None:
    """Record further files of a predicted case, so that they are removed when it is predicted again."""
    hashes = hash_files(output, files)
    with changing_record(output) as record:
        facts = record.setdefault("cases", {}).setdefault(case, {})
        facts["files"] = {**facts.get("files", {}), **hashes}


def hash_files(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return sha256 of files by their paths in a folder."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def hash_images(case: Case) -> dict[str, str]:
    """Return sha256 of each image of a case by name. An image of several files is hashed as one."""
    hashes = (sha256_of(*list_files(path)) for path in case.images)
    return dict(zip(image_names(case), hashes, strict=True))


def image_names(case: Case) -> list[str]:
    """Return the names of the images of a case, with their number where two files have the same name."""
    names = [path.name for path in case.images]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def image_state(case: Case) -> str:
    """Return a digest of sizes and times of the image files of a case that can be looked at. It changes with a file."""
    digest = hashlib.sha256()
    for path in case.images:
        with suppress(OSError):
            for file in list_files(path):
                digest.update(os.fsencode(f"{file.name}|{state_of(file)}\n"))
    return digest.hexdigest()
