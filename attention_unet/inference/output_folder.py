"""The folder of predictions: what may be written over, and ``run.json``, which tells whose they are and how made."""

import errno
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_unet.atomic import remove_partials, write_text
from attention_unet.data.cases import Case
from attention_unet.data.itk_files import files_of
from attention_unet.data.labels import Labels
from attention_unet.data.predictions import DESCRIPTION, PARTS, all_paths, seen_from
from attention_unet.data.volumes import list_volumes, stem
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.model import Model, versions
from attention_unet.inference.settings import Settings
from attention_unet.json_file import read_object

log = logging.getLogger(__name__)

LISTS = ("models", "models_sha256", "files", "extras")  # of names, in run.json and of its cases
DECISIVE = ("models_sha256", "overlap", "mirrored", "keep_largest", "channel")  # for predictions, beside their scans


def check_apart(output: Path, source: Path) -> None:
    """Check that predictions would not lie among the images, nor above them.

    Raises:
        ConfigError: if they would.
    """
    folder = source if source.is_dir() else source.parent
    if folder.resolve().is_relative_to(output.resolve()):
        raise ConfigError(f"{output}: holds the images, in {folder}: name another folder with -o")


def claim_output(
    output: Path,
    source: Path,
    cases: Sequence[Case],
    description: Mapping[str, Any],
    extras: Sequence[str],
    *,
    resume: bool,
    overwrite: bool,
) -> list[Case]:
    """Check the output folder before any work is done, clear it of what will be predicted again, say whose it is.

    Args:
        output: folder for the predictions.
        source: file or folder of the images.
        cases: to predict.
        description: of the predictions, from ``describe``.
        extras: what else is asked for, by name.
        resume: keep what is there, if it is whole and of the same scan.
        overwrite: predict it again.

    Returns:
        The cases that are left to predict.

    Raises:
        ConfigError: if predictions would overwrite images or, unasked, earlier ones, or mix with another model's.
        DataError: if the folder cannot be written to.
    """
    check_apart(output, source)
    for part in PARTS:
        remove_partials(output / part)
    files = list_volumes(output) if output.is_dir() else []
    known = {stem(file) for file in files}
    there = [case for case in cases if case.id in known]
    if resume and overwrite:
        raise ConfigError("--resume keeps what is there, --overwrite does it again: give one of them")
    if there and not (resume or overwrite):
        raise ConfigError(f"{output}: already holds {len(there)} of these predictions: add --resume or --overwrite")
    earlier = noted(output)
    if there and resume and earlier:
        log.info("%d of %d are predicted already: checking that their scans are the same", len(there), len(cases))
    if there and resume and not earlier:
        raise ConfigError(f"{output}: holds {there[0].id}, but no {DESCRIPTION} that tells of it: add --overwrite")
    again = {case.id: why for case in there if resume and (why := _why_again(case, output, earlier, extras))}
    left = [case for case in cases if case not in there or case.id in again] if resume else list(cases)
    going = {case.id for case in left}
    staying = [file for file in files if stem(file) not in going]
    kept = files if resume and there else staying
    if kept and earlier and any(earlier.get(key) != description[key] for key in DECISIVE):
        raise ConfigError(
            f"{output}: holds predictions of another model, or by other options, that would stay ({kept[0].name}, "
            f"{len(kept)} in all): name another folder with -o, or {'add --overwrite' if resume else 'remove them'}"
        )
    for name, why in again.items():
        log.warning("warning: %s: %s: predicted again", name, why)
    forget(left, output)
    note(output, description)
    return left


def _why_again(case: Case, output: Path, earlier: Mapping[str, Any], extras: Sequence[str]) -> str:
    """Why the prediction of a case that is there cannot stay; nothing if it can."""
    noted = earlier["cases"].get(case.id)
    if noted is None:
        return f"{DESCRIPTION} tells nothing of it"
    lacking = [extra for extra in extras if extra not in noted.get("extras", [])]
    if lacking:
        return f"was predicted without {', '.join(lacking)}"
    gone = [name for name in noted.get("files", []) if not (output / name).exists()]
    if gone:
        return f"{gone[0]} is not there any more"
    return "" if noted.get("sha256") == hashes_of(case) else "its scan has changed since it was predicted"


def hashes_of(case: Case) -> dict[str, str]:
    """sha256 of each scan of a case, by name: of all its files one after another."""
    found = {}
    for path in case.images:
        digest = hashlib.sha256()
        for file in files_of(path):
            with file.open("rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
        found[path.name] = digest.hexdigest()
    return found


def forget(cases: Sequence[Case], output: Path) -> None:
    """Remove what an earlier call left of cases: before it is told that another model, or other options, made them.

    Raises:
        DataError: if the folder cannot be written to.
    """
    for case in cases:
        for stale in all_paths(output, case.id):
            try:
                stale.unlink(missing_ok=True)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    continue  # what cannot be there, which is told when it is to be written
                raise DataError(
                    f"{output}: cannot be written to ({error.strerror}): name another folder with -o"
                ) from error
    known, going = noted(output), [case.id for case in cases]
    if any(case in going for case in known.get("cases", {})):
        staying = {case: facts for case, facts in known["cases"].items() if case not in going}
        write_text(output / DESCRIPTION, json.dumps({**known, "cases": staying}, indent=2) + "\n")


def note(output: Path, facts: Mapping[str, Any]) -> None:
    """Put facts into ``run.json``; those of cases are added to those that are there."""
    known = noted(output)
    cases = {**known.get("cases", {}), **facts.get("cases", {})}
    write_text(output / DESCRIPTION, json.dumps({**known, **facts, "cases": cases}, indent=2) + "\n")


def noted(output: Path) -> dict[str, Any]:
    """What ``run.json`` holds; nothing if there is none that prediction wrote."""
    try:
        found = read_object(output / DESCRIPTION)
    except DataError:
        return {}
    try:
        for of in (found, *found.setdefault("cases", {}).values()):
            if not all(isinstance(name, str) for key in LISTS for name in of.get(key, ())):
                return {}
    except (AttributeError, TypeError):
        return {}
    return dict(found)


def origin(models: Sequence[Model], levels: Sequence[int], output: Path) -> dict[str, Any]:
    """Where the models of predictions lie, seen from their folder, and the voxel size of each attended level of the
    first: what ``run.json`` holds for those who look at them later.
    """
    return {
        "models": [seen_from(output, model.file) for model in models if model.file],
        "attention_mm": {str(level): list(models[0].plan.voxel_mm(level)) for level in levels},
    }


def describe(labels: Labels, models_sha256: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Whose predictions a folder holds, how they were made, and what their labels mean: what ``run.json`` holds."""
    return {
        "labels": labels.to_json(),
        "models_sha256": list(models_sha256),
        "overlap": settings.overlap,
        "mirrored": settings.mirrored,
        "keep_largest": settings.keep_largest,
        "channel": settings.channel,
        "versions": versions(),
    }
