"""Prediction of files: a scan or a folder of scans in, a folder of label maps on the scans' own grids out."""

import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attention_unet.dataset.case_facts import image_digest
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError, UserError, replace_paths
from attention_unet.files.atomic import replacing, write_text
from attention_unet.files.prediction_folder import (
    attention_path,
    prediction_path,
    preview_path,
    probabilities_path,
    sidecar_path,
    uncertainty_path,
)
from attention_unet.inference.model import CPU, Model
from attention_unet.inference.output_folder import hashes_of, update_record
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.preview import draw_preview
from attention_unet.inference.settings import Settings
from attention_unet.inference.staging import move_into_place, staging_folder
from attention_unet.inference.trained_on import known_by
from attention_unet.machine.memory import free_memory, out_of_memory, peak_memory
from attention_unet.scans.itk_files import files_of
from attention_unet.scans.label_table import describe_label_map
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume, own_ending, write_like

log = logging.getLogger(__name__)

NOTED_EVERY = 1  # seconds; what is not noted is done again where a call was killed
QUICKLY = 1  # of zlib's levels; its usual one takes longer than the prediction of a small scan


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
        cases: to predict, of which nothing is there (``clear_cases``).
        output: folder for ``CASE.nii.gz``, ``CASE_labels.json`` and what else the settings ask for: the names of all
            are in ``files/prediction_folder.py``.
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
            ending = own_ending(case.images[0]) if own_format else ".nii.gz"
            found = _attempt(case, output, models, settings, partial(_add, done, number), ending)
            if isinstance(found, str):
                failed[case.id] = found
            else:
                facts[case.id] = found
            if time.monotonic() - noted_at > NOTED_EVERY:
                with _warned_of():
                    update_record(output, {"cases": facts})
                noted_at = time.monotonic()
            done(number + 1)
    finally:
        with _warned_of():
            by_id = {case.id: case for case in cases}
            why = {name: _passed_on(reason, by_id[name], output) for name, reason in failed.items()}
            update_record(
                output, {"device": str(device), "peak_memory_bytes": peak_memory(device), "failed": why, "cases": facts}
            )
    return failed


def _attempt(
    case: Case,
    output: Path,
    models: Sequence[Model],
    settings: Settings,
    done: Callable[[float], None],
    ending: str,
) -> dict[str, Any] | str:
    """Predict a case, and tell what it warns of.

    Returns:
        What to note of it, or why it failed. The error itself is let go: it holds what was being written, and with it
        its place on a disk that may be full.
    """
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: dict[str, Any] | str
        try:
            found = _predict_case(case, output, models, settings, done, ending)
        except Exception as error:  # whatever it is, the other cases can still be done
            expected = isinstance(error, UserError)
            found = str(error) if expected else f"{case.images[0]}: {type(error).__name__}: {error}"
            log.debug("%s", case.id, exc_info=True)
    told = [str(one.message) for one in caught if one.category is UserWarning]
    for text in told:
        log.warning("%s", text)
    if isinstance(found, str):
        return found
    seconds = round(time.monotonic() - began, 2)
    noted = [_passed_on(text, case, output) for text in told]
    return {**found, "seconds": seconds, "extras": settings.extras, "warnings": noted}


@contextmanager
def _warned_of() -> Iterator[None]:
    """Let the disk be full: other cases may be smaller."""
    try:
        yield
    except DataError as error:
        log.warning("%s", error)


def _predict_case(
    case: Case,
    output: Path,
    models: Sequence[Model],
    settings: Settings,
    done: Callable[[float], None],
    ending: str,
) -> dict[str, Any]:
    """Read, predict and write; in a function of its own, so that nothing of it is held while the next is done.

    Returns:
        What to note: the device (the CPU if the memory of a GPU does not suffice), the files, and how the case is known
        from the training of a model, as ``known_by`` says.
    """
    volume = read_channels(case, free_memory() if settings.memory is None else settings.memory)
    if settings.channel is not None:
        volume, settings = volume.of_channel(settings.channel), replace(settings, channel=None)
    known = known_by([model.trained_on for model in models], case.id, image_digest(volume))
    device, prediction = models[0].device, None
    try:
        prediction = predict_volume(models, volume, settings, done)
    except RuntimeError as error:
        if device.type == "cpu" or not out_of_memory(error):
            raise
    if prediction is None:  # and the error, which holds all that was computed, let go
        log.warning("%s: too large for the memory of %s: predicted on the CPU", case.id, device)
        models, settings = [model.on(CPU) for model in models], replace(settings, precision=None)
        device, prediction = CPU, predict_volume(models, volume, settings, done)
    with staging_folder(output) as stage:
        try:
            written = write_prediction(stage, case.id, prediction, volume, models[0].plan.labels, ending)
        except DataError as error:
            raise DataError(str(error).replace(str(stage), str(output))) from None
        found = {"sha256": hashes_of(case), "device": str(device), "trained_on": known}
        return {**found, "files": move_into_place(stage, written, output, case.id)}


def write_prediction(
    output: Path, case: str, prediction: Prediction, volume: Volume, labels: Labels, ending: str
) -> list[Path]:
    """Write what was predicted of a case; return the paths, the label map last: where that lies, nothing is missing.

    Raises:
        DataError: if it cannot be written.
    """
    maps = {attention_path(output, case, level): weights for level, weights in prediction.attention.items()}
    maps |= {uncertainty_path(output, case, measure): values for measure, values in prediction.uncertainty.items()}
    if prediction.probabilities is not None:
        maps[probabilities_path(output, case)] = np.moveaxis(prediction.probabilities, 0, -1)
    for path, values in maps.items():
        write_like(path, values, volume)
    with replacing(preview_path(output, case)) as partial:
        draw_preview(volume, prediction.label_map, labels).save(partial, compress_level=QUICKLY)
    described = describe_label_map(prediction.label_map, labels, volume.voxel_ml)
    write_text(sidecar_path(output, case), json.dumps(described, indent=2) + "\n")
    mask = prediction_path(output, case, ending)
    write_like(mask, prediction.label_map, volume, labels)
    return [*maps, preview_path(output, case), sidecar_path(output, case), mask]


def _passed_on(text: str, case: Case, output: Path) -> str:
    """What ``run.json`` keeps of a message: without the folders of this machine."""
    with suppress(OSError):
        text = replace_paths(text, {file: file.name for path in case.images for file in files_of(path)})
    return replace_paths(text, {path: path.name for path in case.images}).replace(f"{output}{os.sep}", "")


def _add(done: Callable[[float], None], before: int, share: float) -> None:
    done(before + share)
