"""The evaluations that a comparison is of: a folder for each model, or several, one for each of its runs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_unet.errors import ConfigError, plural
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.result_files import SCORED
from attention_unet.files.json_file import read_object

log = logging.getLogger(__name__)


def find_models(words: Sequence[str]) -> dict[str, list[Path]]:
    """Return the folders of each model by its name.

    Args:
        words: a folder each, or NAME=FOLDER,FOLDER,... for several runs of one model.

    Raises:
        ConfigError: if there are fewer than two models, a folder is no evaluation, or one is named twice.
    """
    if len(words) < 2:
        raise ConfigError(f"compare needs at least two evaluations, there is {len(words)}: name more")
    named: list[tuple[str, list[Path]]] = []
    for word in words:
        name, between, folders = word.partition("=")
        if between and not Path(word).is_dir():
            named.append((name, [Path(folder) for folder in folders.split(",")]))
        else:
            named.append(("", [Path(word)]))
    every = [folder for _, folders in named for folder in folders]
    for folder in every:
        if not (folder / "metrics.csv").is_file():
            raise ConfigError(f"{folder}: holds no metrics.csv: expected a folder that evaluate wrote")
    if len({folder.resolve() for folder in every}) < len(every):
        raise ConfigError("the same evaluation is named twice: expected different ones")
    short = [name or folders[0].resolve().name for name, folders in named]
    if len(set(short)) < len(short):
        short = [name or str(folders[0]) for name, folders in named]
    if len(set(short)) < len(short):
        raise ConfigError(f"two models have the same name: {', '.join(short)}: expected different names")
    return dict(zip(short, [folders for _, folders in named], strict=True))


def check_alike(models: Mapping[str, Sequence[Path]], metric: str) -> None:
    """Check that evaluations were made alike, as far as their folders say; warn about other references.

    Raises:
        ConfigError: if the metric depends on a tolerance and theirs differ.
    """
    folders = [folder for of in models.values() for folder in of]
    tolerances = [_read(folder / "summary.json").get("settings", {}).get("tolerance_mm") for folder in folders]
    if metric == "nsd" and len({mm for mm in tolerances if mm is not None}) > 1:
        raise ConfigError(f"the tolerances of nsd are {tolerances} mm: expected one; set --tolerance-mm of evaluate")
    files = [read_evaluated_files(folder).references for folder in folders if (folder / SCORED).is_file()]
    for references in files[1:]:
        other = [case for case in references if files[0].get(case, references[case]) != references[case]]
        if other:
            told = f"{references[other[0]]}, and not {files[0][other[0]]}"
            log.warning("scored with other references: %s: %s", plural(len(other), "case"), told)


def _read(file: Path) -> dict[str, Any]:
    return read_object(file) if file.is_file() else {}
