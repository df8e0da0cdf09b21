"""Find the evaluations to compare: one folder per model, or several if a model has several runs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_unet.errors import ConfigError, plural
from attention_unet.evaluation.evaluated_files import SCORED, read_evaluated_files
from attention_unet.files.json_file import parse_object

log = logging.getLogger(__name__)


def find_models(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Return the folders of each model by its name.

    An argument is a folder, or NAME=FOLDER,FOLDER,... for several runs of one model. Raise ConfigError if there are
    fewer than two models, a folder is not an evaluation, or one is named twice.
    """
    if len(arguments) < 2:
        raise ConfigError(f"compare needs at least two evaluations, there is {len(arguments)}: name more")
    models: list[tuple[str, list[Path]]] = []
    for argument in arguments:
        name, equals, folders = argument.partition("=")
        if equals and not Path(argument).is_dir():
            models.append((name, [Path(folder) for folder in folders.split(",")]))
        else:
            models.append(("", [Path(argument)]))
    every = [folder for _, folders in models for folder in folders]
    for folder in every:
        if not (folder / "metrics.csv").is_file():
            raise ConfigError(f"{folder}: holds no metrics.csv: expected a folder that evaluate wrote")
    if len({folder.resolve() for folder in every}) < len(every):
        raise ConfigError("the same evaluation is named twice: expected different ones")
    names = [name or folders[0].resolve().name for name, folders in models]
    if len(set(names)) < len(names):
        names = [name or str(folders[0]) for name, folders in models]
    if len(set(names)) < len(names):
        raise ConfigError(f"two models have the same name: {', '.join(names)}: expected different names")
    return dict(zip(names, [folders for _, folders in models], strict=True))


def check_alike(models: Mapping[str, Sequence[Path]], metric: str) -> None:
    """Raise ConfigError if the metric depends on a tolerance, and recorded ones differ.

    Repeat the warnings of the evaluations, and warn about other references.
    """
    folders = [folder for runs in models.values() for folder in runs]
    settings = [_read_settings(folder / "summary.json") for folder in folders]
    for folder, (_, warnings) in zip(folders, settings, strict=True):
        for warning in warnings:
            log.warning("%s: %s", folder, warning)
    tolerances = [mm for mm, _ in settings]
    if metric == "nsd" and len({mm for mm in tolerances if mm is not None}) > 1:
        raise ConfigError(f"the tolerances of nsd are {tolerances} mm: expected one; set --tolerance-mm of evaluate")
    cases = [read_evaluated_files(folder).cases for folder in folders if (folder / SCORED).is_file()]
    for others in cases[1:]:
        other = [name for name, case in others.items() if cases[0].get(name, case).label != case.label]
        if other:
            text = f"{others[other[0]].label} instead of {cases[0][other[0]].label}"
            log.warning("scored with other references: %s: %s", plural(len(other), "case"), text)


def _read_settings(file: Path) -> tuple[float | None, list[str]]:
    """Return the tolerance of an evaluation, if known, and its warnings."""
    if not file.is_file():
        return None, []

    def settings(plain: Mapping[str, Any]) -> tuple[float | None, list[str]]:
        value = dict(plain.get("settings", {})).get("tolerance_mm")
        return None if value is None else float(value), list(map(str, plain.get("warnings", [])))

    return parse_object(file, settings, "evaluate again")
