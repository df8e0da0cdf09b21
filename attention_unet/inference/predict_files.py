"""Prediction of files: a scan or a folder of scans in, a folder of label maps on the scans' own grids out."""

import glob
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from attention_unet.atomic import write_text
from attention_unet.data.cases import Case, group_channels
from attention_unet.data.labels import Labels
from attention_unet.data.predictions import ATTENTION, DESCRIPTION, attention_path, prediction_path
from attention_unet.data.preprocessing import read_channels
from attention_unet.data.volumes import is_volume, list_volumes, write_like
from attention_unet.errors import ConfigError, DataError, UserError
from attention_unet.inference.model import Model, versions
from attention_unet.inference.predict_volume import average, predict_volume

log = logging.getLogger(__name__)

DECISIVE = ("models_sha256", "overlap", "mirrored")  # what a prediction follows from, beside its scan


def find_inputs(source: Path, channels: int) -> list[Case]:
    """Cases of a file or a folder; files of single channels are grouped by their suffixes.

    Raises:
        ConfigError: if there is no volume.
    """
    if source.is_dir():
        files = list_volumes(source)
    elif is_volume(source):
        files = [source]
    else:
        raise ConfigError(f"{source}: is no folder and no NIfTI file: expected one of these")
    if not files:
        raise ConfigError(f"{source}: holds no NIfTI file (.nii.gz or .nii): expected the images to predict")
    return [Case(name, paths) for name, paths in sorted(group_channels(files, channels).items())]


def claim_output(
    output: Path, source: Path, cases: Sequence[Case], description: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> list[Case]:
    """Check the output folder before any work is done, clear it of what will be predicted again, say whose it is.

    Args:
        output: folder for the predictions.
        source: file or folder of the images.
        cases: to predict.
        description: of the predictions, from ``describe``.
        resume: keep what is there.
        overwrite: predict it again.

    Returns:
        The cases that are left to predict.

    Raises:
        ConfigError: if predictions would overwrite images or, unasked, earlier ones, or mix with another model's.
        DataError: if the folder cannot be written to.
    """
    folder = source if source.is_dir() else source.parent
    if output.resolve() == folder.resolve():
        raise ConfigError(f"{output}: holds the images: name another folder with -o")
    there = [case for case in cases if prediction_path(output, case.id).exists()]
    if there and not (resume or overwrite):
        raise ConfigError(f"{output}: already holds {len(there)} of these predictions: add --resume or --overwrite")
    left = [case for case in cases if case not in there] if resume else list(cases)
    going = {prediction_path(output, case.id) for case in left}
    staying = [file for file in (list_volumes(output) if output.is_dir() else []) if file not in going]
    earlier = _description_in(output)
    known = earlier or (there and resume)
    if staying and known and any(earlier.get(key) != description[key] for key in DECISIVE):
        raise ConfigError(
            f"{output}: holds predictions of another model, or by other options, that would stay ({staying[0].name}, "
            f"{len(staying)} in all): name another folder with -o, or {'add --overwrite' if resume else 'remove them'}"
        )
    forget(left, output)
    write_text(output / DESCRIPTION, json.dumps(description, indent=2) + "\n")
    return left


def forget(cases: Sequence[Case], output: Path) -> None:
    """Remove what an earlier call left of cases: before it is told that another model, or other options, made them.

    Raises:
        DataError: if the folder cannot be written to.
    """
    for case in cases:
        attention = (output / ATTENTION).glob(f"{glob.escape(case.id)}_level*.nii.gz")
        for stale in (prediction_path(output, case.id), *attention):
            try:
                stale.unlink(missing_ok=True)
            except OSError as error:
                raise DataError(
                    f"{output}: cannot be written to ({error.strerror}): name another folder with -o"
                ) from error


def describe(labels: Labels, models_sha256: Sequence[str], overlap: float, mirrored: bool) -> dict[str, Any]:
    """Whose predictions a folder holds, how they were made, and what their labels mean: what ``run.json`` holds."""
    return {
        "labels": labels.to_json(),
        "models_sha256": list(models_sha256),
        "overlap": overlap,
        "mirrored": mirrored,
        "versions": versions(),
    }


def predict_files(
    cases: Sequence[Case],
    output: Path,
    models: Sequence[Model],
    *,
    precision: torch.dtype,
    overlap: float,
    mirrored: bool,
    attention: bool,
    done: Callable[[], None],
) -> dict[str, str]:
    """Predict cases one after another; each result appears whole or not at all, and one that fails stops no other.

    Args:
        cases: to predict, of which nothing is there (``forget``).
        output: folder for ``CASE.nii.gz`` and ``attention/CASE_levelN.nii.gz``.
        models: to predict with, and to average where there are several.
        precision: torch.float32 or torch.bfloat16.
        overlap: of windows.
        mirrored: whether to see every window mirrored as well.
        attention: whether to write attention maps.
        done: called after each case.

    Returns:
        For each case that failed the reason.
    """
    failed: dict[str, str] = {}
    for case in cases:
        try:
            volume = read_channels(case)
            prediction = average(
                predict_volume(
                    model.network,
                    model.plan,
                    volume,
                    device=model.device,
                    precision=precision,
                    overlap=overlap,
                    mirrored=mirrored,
                    attention=attention,
                )
                for model in models
            )
            for level, weights in prediction.attention.items():
                write_like(attention_path(output, case.id, level), weights, volume)
            write_like(prediction_path(output, case.id), prediction.label_map, volume)
        except UserError as error:
            failed[case.id] = str(error)
        except Exception as error:  # whatever it is, the other cases can still be done
            failed[case.id] = f"{case.images[0]}: {type(error).__name__}: {error}"
            log.debug("%s", case.id, exc_info=True)
        done()
    return failed


def _description_in(output: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((output / DESCRIPTION).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
