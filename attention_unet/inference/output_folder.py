"""Guard the output folder of a prediction: nothing is lost there, and nothing is mixed."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, DataError, first_few, plural
from attention_unet.files.atomic import STALE_SECONDS, remove_partials
from attention_unet.files.digest import sha256_of
from attention_unet.files.lock import record_lock
from attention_unet.files.part import WHOLE, Part
from attention_unet.files.prediction_folder import GRAD_CAM, PARTS, possible_paths
from attention_unet.files.prediction_record import RECORD, read_record, recorded_files, was_changed
from attention_unet.inference.record import begin_part, changing_record, hash_images, image_names, image_state, is_same
from attention_unet.inference.structures import VOLUMES
from attention_unet.scans.file_type import is_pointer
from attention_unet.scans.itk_header import data_files
from attention_unet.scans.volume_files import ENDINGS, list_files, list_volumes, stem

log = logging.getLogger(__name__)

AWAY = "the scan is not here, or cannot be read"


def claim_output(
    output: Path,
    cases: Sequence[Case],
    description: Mapping[str, Any],
    extras: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
    part: Part = WHOLE,
) -> list[Case]:
    """Check the output folder before any work, remove what will be predicted again, and write the description.

    Return the cases of this part that are left to predict. A file is removed only if ``run.json`` or the journal of a
    killed process records it, with its present content.

    ``cases`` are those of all parts, ``extras`` the names of the wanted results beside the label map. ``resume``,
    ``overwrite`` and ``part`` are as in ``predict_folder``.

    Raises:
        ConfigError: if the folder contains files of other origin, if predictions would replace images or, without
            ``overwrite``, earlier predictions, or if they would mix with those of another model.
        DataError: if the folder cannot be written to.
    """
    ids, cases = {case.id for case in cases}, [case for case in cases if part.has(case.id)]
    resolved = output.resolve()
    for image in (image for case in cases for image in case.images):
        if (image.parent.resolve() / image.name).is_relative_to(resolved):
            raise ConfigError(f"{output}: holds the images, such as {image}: name another folder with -o")
    remove_partials(output / GRAD_CAM, STALE_SECONDS)  # explain may be writing there
    with record_lock(output):  # what other parts remove meanwhile is recorded until it is gone
        files, record = list_volumes(output), read_record(output)
    names = {stem(file) for file in files}
    others = [case for case in record.get("cases", {}) if case in names and case not in ids]
    if resume and len(ids) > 1 and others:
        log.warning(
            "%s: holds predictions of %s not in the input: %s; remove their files if they should go",
            *(output, plural(len(others), "scan"), first_few(others)),
        )
    present = [case for case in cases if case.id in names]
    _check_recorded(output, files, record)
    if present and not (resume or overwrite):
        raise ConfigError(f"{output}: already holds {len(present)} of these predictions: add --resume or --overwrite")
    same = is_same(record, description)
    keep = resume and (same or not overwrite)
    own = {case.id for case in cases}
    kept = files if keep else [file for file in files if stem(file) not in own]
    if kept and record and not same:
        raise ConfigError(
            f"{output}: holds predictions made with another model or other options, which would stay ({kept[0].name}, "
            f"{len(kept)} in all): name another folder with -o, or {'add --overwrite' if keep else 'remove them'}"
        )
    left = _find_left(output, cases, present, record, extras) if keep else cases
    left_ids = {case.id for case in left}
    old = _find_old(output, left, record)
    begin_part(output, description, part, ids, left_ids)
    (output / VOLUMES).unlink(missing_ok=True)  # so that it never stands beside masks of a later call
    _remove(output, old, left_ids)
    return left


def _find_left(
    output: Path, cases: list[Case], present: Sequence[Case], record: Mapping[str, Any], extras: Sequence[str]
) -> list[Case]:
    """Return the cases without a prediction that can stay."""
    if present:
        log.info("%d of %d are predicted already: checking that their scans are the same", len(present), len(cases))
    cases_by_reason: dict[str, list[str]] = {}
    for case in present:
        cases_by_reason.setdefault(_why_again(case, output, record, extras), []).append(case.id)
    stay = {*cases_by_reason.pop("", []), *(away := cases_by_reason.pop(AWAY, []))}
    if away:
        log.warning("%s: %s: the prediction is kept", first_few(away), AWAY)
    for why, names in cases_by_reason.items():
        log.warning("%s: %s: predicted again", first_few(names), why)
    if changed := [name for name in sorted(stay) if was_changed(output, record, name)]:
        text = "%s changed after prediction: kept, but %s has the figures from before: %s"
        log.warning(text, plural(len(changed), "mask"), VOLUMES, first_few(changed))
    return [case for case in cases if case.id not in stay]


def check_origin(output: Path) -> None:
    """Raise ConfigError if ``run.json`` or a volume in a folder was not written by a prediction."""
    _check_recorded(output, list_volumes(output) if output.is_dir() else [], read_record(output))


def _check_recorded(output: Path, files: Sequence[Path], record: Mapping[str, Any]) -> None:
    if os.path.lexists(output / RECORD) and not {"models_sha256", "begun"} & set(record):
        raise ConfigError(
            f"{output}: holds a {RECORD} that is damaged, or that no prediction wrote: name another folder"
        )
    if others := [file.name for file in files if file.name not in recorded_files(record, stem(file))]:
        raise _other_origin(output, others)


def _find_old(output: Path, cases: Sequence[Case], record: Mapping[str, Any]) -> list[Path]:
    """Return the files of earlier predictions of cases.

    Raise ConfigError if a file that is in the way was not written by a prediction, or was changed after it; or if a
    prediction would be written onto a scan.
    """
    inputs: set[str] = set()
    for image in (image for case in cases for image in case.images):
        with suppress(OSError):  # reading this scan fails, too, with the reason
            inputs.update(map(os.path.realpath, list_files(image)))
    old: list[Path] = []
    folders = [folder for folder in (output, *(output / name for name in PARTS)) if folder.is_dir()]
    there = {path for folder in folders for path in folder.iterdir()}  # listed once, as there may be many cases
    for case in cases:
        recorded = recorded_files(record, case.id)
        targets = [path for path in possible_paths(output, case.id, ENDINGS) if path in there] if there else []
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
                    f"{path}: is a link, but was a file when it was predicted: restore it (datalad unlock), or name "
                    "another folder"
                )
            if sha256_of(path) != recorded[name]:
                raise ConfigError(
                    f"{path}: was changed after it was predicted: move it elsewhere, or name another folder"
                )
            old.append(path)
    return old


def _remove(output: Path, old: Sequence[Path], cases: Iterable[str]) -> None:
    """Remove files of earlier predictions. Then the cases no longer count as begun, as ``begin_part`` recorded them."""
    try:
        for path in old:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{output}: cannot be written to ({error.strerror}): name another folder with -o") from error
    if old:
        with changing_record(output) as record:
            for case in cases:
                record.get("begun", {}).pop(case, None)


def _other_origin(output: Path, names: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"{output}: holds {first_few(names)}, which {RECORD} does not record as written by a prediction: "
        "move it elsewhere, or name another folder"
    )


def _why_again(case: Case, output: Path, record: Mapping[str, Any], extras: Sequence[str]) -> str:
    """Return why the prediction of a case cannot stay; an empty string, or ``AWAY``, if it can."""
    facts = record.get("cases", {}).get(case.id)
    if facts is None:
        return f"{RECORD} does not record it as finished"
    lacking = [extra for extra in extras if extra not in facts.get("extras", [])]
    if lacking:
        return f"was predicted without {', '.join(lacking)}"
    gone = [name for name in facts.get("files", []) if not (output / name).exists()]
    if gone:
        return f"{gone[0]} is not there any more"
    if list(facts.get("sha256", {})) != image_names(case):
        return f"was predicted from {', '.join(facts.get('sha256', {}))}"
    if facts.get("absent", []) != list(case.absent):
        return "was predicted without other channels"
    try:
        same = facts.get("state") == image_state(case) or facts.get("sha256") == hash_images(case)
        away = not same and any(map(_is_away, case.images))
    except OSError:
        same, away = False, True
    if away:
        return AWAY
    return "" if same else "the scan has changed since it was predicted"


def _is_away(image: Path) -> bool:
    """Return whether some content of an image is not here: a link to nothing, or a pointer of git-annex or Git LFS."""
    files = [*image.iterdir()] if image.is_dir() else [image, *data_files(image)]
    return any(not file.exists() if file.is_symlink() else file.is_file() and is_pointer(file) for file in files)
