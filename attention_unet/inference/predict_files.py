"""Prediction of files: a scan or a folder of scans in, a folder of label maps on the scans' own grids out."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attention_unet.atomic import replacing, write_text
from attention_unet.data.cases import Case, group_channels
from attention_unet.data.itk import is_series
from attention_unet.data.label_table import describe_label_map
from attention_unet.data.labels import Labels
from attention_unet.data.predictions import (
    attention_path,
    prediction_path,
    preview_path,
    probabilities_path,
    sidecar_path,
    uncertainty_path,
)
from attention_unet.data.preprocessing import read_channels
from attention_unet.data.volumes import ENDINGS, Volume, is_volume, list_volumes, own_ending, write_like
from attention_unet.errors import ConfigError, UserError
from attention_unet.inference.model import CPU, Model
from attention_unet.inference.output_folder import forget, hashes_of, note
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.preview import draw_preview
from attention_unet.inference.settings import Settings
from attention_unet.memory import free_memory, peak_memory

log = logging.getLogger(__name__)

NOTED_EVERY = 10  # seconds
QUICKLY = 1  # of zlib's levels; its usual one takes longer than the prediction of a small scan


def find_inputs(source: Path, channels: int) -> list[Case]:
    """Cases of a file, of the folder of a DICOM series, or of a folder of these; files of single channels are grouped
    by their suffixes.

    Raises:
        ConfigError: if there is no volume.
    """
    if not source.exists():
        raise ConfigError(f"{source}: does not exist: check the path")
    if is_volume(source):
        files = [source]
    elif source.is_dir():
        files = [*list_volumes(source), *(folder for folder in sorted(source.iterdir()) if is_series(folder))]
        files = [source] if not files and is_series(source) else files
    else:
        raise ConfigError(f"{source}: is no folder and no volume ({', '.join(ENDINGS)}): expected one of these")
    if not files:
        deeper = next((folder for folder in (*source.glob("*/*"), *source.glob("*/*/*")) if is_series(folder)), None)
        if deeper:
            raise ConfigError(f"{source}: holds a DICOM series further down: name the folder above it, {deeper.parent}")
        raise ConfigError(
            f"{source}: holds no volume ({', '.join(ENDINGS)}) and no DICOM series: expected the images to predict"
        )
    return [Case(name, paths) for name, paths in sorted(group_channels(files, channels).items())]


def predict_files(
    cases: Sequence[Case],
    output: Path,
    models: Sequence[Model],
    settings: Settings,
    done: Callable[[float], None],
    own_format: bool = False,
) -> dict[str, str]:
    """Predict cases one after another; each result appears whole or not at all, and one that fails stops no other.

    Args:
        cases: to predict, of which nothing is there (``forget``).
        output: folder for ``CASE.nii.gz``, ``CASE_labels.json`` and what else the settings ask for: the names of all
            are in ``data/predictions.py``.
        models: to predict with, and to average where there are several.
        settings: how to predict them.
        done: called now and then with the number of cases done so far, the share of one included.
        own_format: whether to write a label map in the format of its scan, where that is NRRD or MetaImage.

    Returns:
        For each case that failed the reason.
    """
    failed: dict[str, str] = {}
    facts: dict[str, dict[str, Any]] = {}
    device, noted_at = models[0].device, time.monotonic()
    try:
        for number, case in enumerate(cases):
            began = time.monotonic()
            try:
                ending = own_ending(case.images[0]) if own_format else ".nii.gz"
                used = _predict_case(case, output, models, settings, partial(_add, done, number), ending)
                seconds = round(time.monotonic() - began, 2)
                facts[case.id] = {"sha256": hashes_of(case), "seconds": seconds, "device": str(used)}
            except Exception as error:  # whatever it is, the other cases can still be done
                known = isinstance(error, UserError)
                failed[case.id] = str(error) if known else f"{case.images[0]}: {type(error).__name__}: {error}"
                log.debug("%s", case.id, exc_info=True)
                forget([case], output)
            if time.monotonic() - noted_at > NOTED_EVERY:
                note(output, {"cases": facts})
                noted_at = time.monotonic()
            done(number + 1)
    finally:
        told = {"device": str(device), "peak_memory_bytes": peak_memory(device), "failed": failed}
        note(output, {**told, "cases": facts})
    return failed


def _predict_case(
    case: Case,
    output: Path,
    models: Sequence[Model],
    settings: Settings,
    done: Callable[[float], None],
    ending: str,
) -> torch.device:
    """Read, predict and write; in a function of its own, so that nothing of it is held while the next is done.

    Returns:
        Where it was predicted: if the memory of a GPU does not suffice, on the CPU.
    """
    volume = read_channels(case, free_memory() if settings.memory is None else settings.memory)
    device, prediction = models[0].device, None
    try:
        prediction = predict_volume(models, volume, settings, done)
    except RuntimeError as error:  # torch tells it by several errors and the same words
        if device.type == "cpu" or "out of memory" not in str(error):
            raise
    if prediction is None:  # and the error, which holds all that was computed, let go
        log.warning("warning: %s: too large for the memory of %s: predicted on the CPU", case.id, device)
        models, settings = [model.on(CPU) for model in models], replace(settings, precision=None)
        device, prediction = CPU, predict_volume(models, volume, settings, done)
    write_prediction(output, case.id, prediction, volume, models[0].plan.labels, ending)
    return device


def write_prediction(
    output: Path, case: str, prediction: Prediction, volume: Volume, labels: Labels, ending: str
) -> None:
    """Write what is said of a case, the label map last: where that lies, nothing is missing.

    Raises:
        DataError: if it cannot be written.
    """
    for level, weights in prediction.attention.items():
        write_like(attention_path(output, case, level), weights, volume)
    for measure, values in prediction.uncertainty.items():
        write_like(uncertainty_path(output, case, measure), values, volume)
    if prediction.probabilities is not None:
        write_like(probabilities_path(output, case), np.moveaxis(prediction.probabilities, 0, -1), volume)
    with replacing(preview_path(output, case)) as partial:
        draw_preview(volume, prediction.label_map, labels).save(partial, compress_level=QUICKLY)
    described = describe_label_map(prediction.label_map, labels, volume.voxel_ml)
    write_text(sidecar_path(output, case), json.dumps(described, indent=2) + "\n")
    write_like(prediction_path(output, case, ending), prediction.label_map, volume, labels)


def _add(done: Callable[[float], None], before: int, share: float) -> None:
    done(before + share)
