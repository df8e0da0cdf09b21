"""Find the evaluations to compare: one folder per model, or several if a model has several runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_unet.errors import ConfigError
from attention_unet.files.json_file import parse_object


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


def check_tolerances(models: Mapping[str, Sequence[Path]], metric: str) -> None:
    """Raise ConfigError if the metric depends on a tolerance, and the tolerances that evaluations recorded differ."""
    files = [folder / "summary.json" for runs in models.values() for folder in runs]
    found = [parse_object(file, _parse_tolerance, "evaluate again") for file in files if file.is_file()]
    tolerances = [mm for mm in found if mm is not None]
    if metric == "nsd" and len(set(tolerances)) > 1:
        raise ConfigError(f"the tolerances of nsd are {tolerances} mm: expected one; set --tolerance-mm of evaluate")


def _parse_tolerance(plain: Mapping[str, Any]) -> float | None:
    value = dict(plain.get("settings", {})).get("tolerance_mm")
    return None if value is None else float(value)
