"""The folder of predictions: what may be written over, and ``run.json``, which tells whose they are and how made."""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.files.atomic import remove_partials, write_text
from attention_unet.files.digest import sha256_of
from attention_unet.files.lock import record_lock
from attention_unet.files.prediction_folder import (
    MAX_LEVELS,
    MEASURES,
    PARTS,
    attention_path,
    prediction_path,
    preview_path,
    probabilities_path,
    relative_path,
    sidecar_path,
    uncertainty_path,
)
from attention_unet.files.prediction_record import JOURNAL, RECORD, read_record, recorded_files
from attention_unet.inference.model import Model, versions
from attention_unet.inference.settings import Settings
from attention_unet.inference.staging import record_files
from attention_unet.scans.itk_files import files_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import ENDINGS, list_volumes, stem

log = logging.getLogger(__name__)

DECISIVE = ("models_sha256", "overlap", "mirrored", "keep_largest", "channel")  # for predictions, beside their scans


def check_apart(output: Path, cases: Sequence[Case]) -> None:
    """Check that predictions would not lie among the images, nor above them.

    Raises:
        ConfigError: if they would.
    """
    for image in (image for case in cases for image in case.images):
        if (image.parent.resolve() / image.name).is_relative_to(output.resolve()):
            raise ConfigError(f"{output}: holds the images, such as {image}: name another folder with -o")


def claim_output(
    output: Path,
    cases: Sequence[Case],
    description: Mapping[str, Any],
    extras: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
) -> list[Case]:
    """Check the output folder before any work is done, remove what will be predicted again, record whose it is.

    Only files that ``run.json`` or the journal of a killed call records, with the content that it records, are removed.

    Args:
        output: folder for the predictions.
        cases: to predict.
        description: of the predictions, from ``describe``.
        extras: what else is asked for, by name.
        resume: keep predictions that are there, if they are complete, and of the same model, settings and scan.
        overwrite: replace predictions that are there. With ``resume``: those that are not the same.

    Returns:
        The cases that are left to predict.

    Raises:
        ConfigError: if the folder holds files of other origin, predictions would overwrite images or, unasked, earlier
            predictions, or would mix with those of another model.
        DataError: if the folder cannot be written to.
    """
    check_apart(output, cases)
    for part in PARTS:
        remove_partials(output / part)
    files = list_volumes(output) if output.is_dir() else []
    known = {stem(file) for file in files}
    there = [case for case in cases if case.id in known]
    earlier = read_record(output)
    check_origin(output)
    same = all(earlier.get(key) == description[key] for key in DECISIVE)
    resume = resume and (same or not overwrite)
    if there and not (resume or overwrite):
        raise ConfigError(f"{output}: already holds {len(there)} of these predictions: add --resume or --overwrite")
    if there and resume:
        log.info("%d of %d are predicted already: checking that their scans are the same", len(there), len(cases))
    again = {case.id: why for case in there if resume and (why := _why_again(case, output, earlier, extras))}
    left = [case for case in cases if case.id not in known or case.id in again] if resume else list(cases)
    going = {case.id for case in left}
    staying = [file for file in files if stem(file) not in going]
    kept = files if resume and there else staying
    if kept and earlier and not same:
        raise ConfigError(
            f"{output}: holds predictions of another model, or by other options, that would stay ({kept[0].name}, "
            f"{len(kept)} in all): name another folder with -o, or {'add --overwrite' if resume else 'remove them'}"
        )
    for name, why in again.items():
        log.warning("%s: %s: predicted again", name, why)
    clear_cases(output, left)
    update_record(output, {**description, "complete": False})
    return left


def clear_cases(output: Path, cases: Sequence[Case]) -> None:
    """Remove earlier predictions of cases, and what ``run.json`` says of them.

    Args:
        output: folder of the predictions.
        cases: to predict.

    Raises:
        ConfigError: if a file that is in the way was not written by a prediction, or was changed after it; or if a
            prediction would be written onto a scan. Nothing is removed then.
        DataError: if the folder cannot be written to.
    """
    earlier = read_record(output)
    inputs = {os.path.realpath(file) for case in cases for image in case.images for file in files_of(image)}
    going: list[Path] = []
    for case in cases:
        recorded = recorded_files(earlier, case.id)
        targets = possible_paths(output, case.id)
        onto = next((path for path in targets if os.path.realpath(path) in inputs), None)
        if onto:
            raise ConfigError(f"{onto}: is one of the scans, or a link to one: name another folder with -o")
        for path in dict.fromkeys([*targets, *(output / name for name in recorded)]):
            if not os.path.lexists(path):
                continue
            name = path.relative_to(output).as_posix()
            if name not in recorded:
                raise _other_origin(output, [name])
            if path.is_symlink():
                raise ConfigError(
                    f"{path}: is a link now, which was a file: put the file back (datalad unlock), or name another "
                    "folder"
                )
            if sha256_of(path) != recorded[name]:
                raise ConfigError(
                    f"{path}: was changed after it was predicted: move it elsewhere, or name another folder"
                )
            going.append(path)
    for path in going:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"{output}: cannot be written to ({error.strerror}): name another folder with -o"
            ) from error
    with record_lock(output):
        known, gone = read_record(output), {case.id for case in cases}
        for key in ("cases", "begun"):
            known[key] = {case: facts for case, facts in known.get(key, {}).items() if case not in gone}
        _write_record(output, known)


def check_origin(output: Path) -> None:
    """Check that a prediction wrote ``run.json`` and every volume of a folder, if there are any.

    Raises:
        ConfigError: if not.
    """
    earlier = read_record(output)
    if os.path.lexists(output / RECORD) and not {"models_sha256", "begun"} & set(earlier):
        raise ConfigError(
            f"{output}: holds a {RECORD} that is damaged, or that no prediction wrote: name another folder"
        )
    files = list_volumes(output) if output.is_dir() else []
    if others := [file.name for file in files if file.name not in recorded_files(earlier, stem(file))]:
        raise _other_origin(output, others)


def _other_origin(output: Path, names: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"{output}: holds {first_few(names)}, which {RECORD} does not record as written by a prediction: "
        "move it elsewhere, or name another folder"
    )


def _why_again(case: Case, output: Path, earlier: Mapping[str, Any], extras: Sequence[str]) -> str:
    """Why the prediction of a case that is there cannot stay; nothing if it can."""
    noted = earlier.get("cases", {}).get(case.id)
    if noted is None:
        return f"{RECORD} does not record it as finished"
    lacking = [extra for extra in extras if extra not in noted.get("extras", [])]
    if lacking:
        return f"was predicted without {', '.join(lacking)}"
    gone = [name for name in noted.get("files", []) if not (output / name).exists()]
    if gone:
        return f"{gone[0]} is not there any more"
    try:
        return "" if noted.get("sha256") == hashes_of(case) else "its scan has changed since it was predicted"
    except OSError:
        return "its scan cannot be read any more"


def hashes_of(case: Case) -> dict[str, str]:
    """sha256 of each scan of a case, by name: of all its files one after another."""
    return {path.name: sha256_of(*files_of(path)) for path in case.images}


def update_record(output: Path, facts: Mapping[str, Any]) -> None:
    """Put facts into ``run.json``; those of cases are added to those that are there."""
    with record_lock(output):
        known = read_record(output)
        cases = {**known.get("cases", {}), **facts.get("cases", {})}
        begun = {case: files for case, files in known.get("begun", {}).items() if case not in cases}
        _write_record(output, {**known, **facts, "begun": begun, "cases": cases})


def _write_record(output: Path, notes: Mapping[str, Any]) -> None:
    """Write ``run.json``. What the journal held is in it then."""
    write_text(output / RECORD, json.dumps(notes, indent=2) + "\n")
    (output / JOURNAL).unlink(missing_ok=True)


def record_more_files(output: Path, case: str, files: Iterable[Path]) -> None:
    """Record further files of a case that was predicted, so that they are removed when it is predicted again."""
    facts = read_record(output).get("cases", {}).get(case, {})
    update_record(
        output, {"cases": {case: {**facts, "files": {**facts.get("files", {}), **record_files(output, files)}}}}
    )


def describe_models(models: Sequence[Model], levels: Sequence[int], output: Path) -> dict[str, Any]:
    """Where the models of predictions lie, seen from their folder, and the voxel size of each attended level of the
    first: what ``run.json`` holds for those who look at them later.
    """
    return {
        "models": [relative_path(output, model.file) for model in models if model.file],
        "attention_mm": {str(level): list(models[0].plan.voxel_mm(level)) for level in levels},
    }


def describe(labels: Labels, models_sha256: Sequence[str], settings: Settings, single: Sequence[str]) -> dict[str, Any]:
    """Whose predictions a folder holds, how they were made, and what their labels mean: what ``run.json`` holds.

    Args:
        labels: classes.
        models_sha256: of each model.
        settings: how they were predicted.
        single: classes that keep only their largest connected component.
    """
    return {
        "labels": labels.to_json(),
        "models_sha256": list(models_sha256),
        "overlap": settings.overlap,
        "mirrored": settings.mirrored,
        "keep_largest": list(single),
        "channel": settings.channel,
        "versions": versions(),
    }


def possible_paths(output: Path, case: str) -> list[Path]:
    """Every path that the prediction of a case may write to."""
    masks = [prediction_path(output, case, ending) for ending in ENDINGS]
    maps = [attention_path(output, case, level) for level in range(MAX_LEVELS)]
    measures = [uncertainty_path(output, case, measure) for measure in MEASURES]
    return [
        *masks,
        *maps,
        *measures,
        *(path(output, case) for path in (sidecar_path, preview_path, probabilities_path)),
    ]
