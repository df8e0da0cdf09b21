"""Predict cases one after another and write their results to files."""

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attention_unet.dataset.case_facts import image_digest
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError, UserError, raise_interruption, replace_paths
from attention_unet.files.atomic import PARTIAL, check_writable, replacing
from attention_unet.files.json_file import write_json
from attention_unet.files.lock import Busy
from attention_unet.files.prediction_folder import (
    attention_path,
    prediction_path,
    preview_path,
    probabilities_path,
    segmentation_path,
    structures_path,
    uncertainty_path,
)
from attention_unet.inference.channels import warn_of_absent
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.preview import draw_preview
from attention_unet.inference.record import hash_images, image_state, move_into_place, note, update_record
from attention_unet.inference.settings import Settings
from attention_unet.inference.structures import describe_structures
from attention_unet.inference.trained_on import find_in_training
from attention_unet.machine.memory import free_memory, peak_memory
from attention_unet.preparation.plan import Plan
from attention_unet.scans.dicom import is_series
from attention_unet.scans.dicom_segmentation import make_segmentation
from attention_unet.scans.volume_files import file_ending, list_files
from attention_unet.scans.volumes import Volume, write_like

log = logging.getLogger(__name__)

QUALITY = 90  # of previews, as JPEG: a PNG takes several times the space and time


def predict_files(
    cases: Sequence[Case], output: Path, models: Sequence[Model], settings: Settings, done: Callable[[float], None]
) -> dict[str, str]:
    """Predict cases, and return the reason of failure by case id. A case that fails stops no other.

    The files of a case appear all at once or not at all. The cases must have no files in the output folder (see
    ``claim_output``). ``done`` is called from time to time with the number of cases done so far, a fraction of a case
    included.
    """
    failed: dict[str, str] = {}
    facts: dict[str, dict[str, Any]] = {}  # of cases that could not be noted, perhaps for lack of space
    device = models[0].device
    try:
        for number, case in enumerate(cases):

            def report(share: float, before: int = number) -> None:
                done(before + share)

            result = _try_case(case, output, models, settings, report)
            if isinstance(result, str):
                failed[case.id] = result
            else:
                facts[case.id] = result
                with _errors_as_warnings():
                    note(output, {"cases": facts})
                    facts = {}
            done(number + 1)
    finally:
        with _errors_as_warnings():
            by_id = {case.id: case for case in cases}
            reasons = {name: _without_folders(reason, by_id[name], output) for name, reason in failed.items()}
            summary = {"device": str(device), "peak_memory_bytes": peak_memory(device), "failed": reasons}
            update_record(output, {**summary, "cases": facts})
    return failed


def _try_case(
    case: Case, output: Path, models: Sequence[Model], settings: Settings, done: Callable[[float], None]
) -> dict[str, Any] | str:
    """Predict a case, and log its warnings. Return facts for ``run.json``, or the reason of failure.

    The exception itself is dropped: it holds the file that was being written, and so its space on a disk that may be
    full.
    """
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result: dict[str, Any] | str
        try:
            result = _predict_case(case, output, models, settings, done)
        except Exception as error:  # of any kind: the other cases can still be predicted
            raise_interruption(error)
            expected = isinstance(error, UserError)
            result = str(error) if expected else f"{case.images[0]}: {type(error).__name__}: {error}"
            log.debug("%s", case.id, exc_info=True)
    texts = [str(warning.message) for warning in caught if warning.category is UserWarning]
    for text in texts:
        log.warning("%s", text)
    if isinstance(result, str):
        return result
    seconds = round(time.monotonic() - began, 2)
    kept = [_without_folders(text, case, output) for text in texts]
    return {**result, "seconds": seconds, "extras": settings.extras, "warnings": kept}


@contextmanager
def _errors_as_warnings() -> Iterator[None]:
    """Log errors of data as warnings: where a disk is full, other cases may be smaller."""
    try:
        yield
    except (DataError, Busy) as error:
        raise_interruption(error)
        log.warning("%s", error)


def _predict_case(
    case: Case, output: Path, models: Sequence[Model], settings: Settings, done: Callable[[float], None]
) -> dict[str, Any]:
    """Read, predict and write a case. This is a function of its own so that its memory is freed before the next case.

    Returns:
        Facts for ``run.json``: sha256 and state of the images, the files, missing channels, the device (the CPU if the
        memory of a GPU does not suffice), whether the case is in the training data, as ``find_in_training`` returns it,
        and the voxel size of each place with attention along the array axes of the scan.
    """
    if len(case.images) > 1 and (gone := [path for path in case.images if not path.exists()]):
        raise DataError(
            f"{gone[0]}: missing: expected a file of each channel; a model trained with augmentation.drop_channel "
            "predicts without"
        )
    state = image_state(case)
    volume = read_channels(case, free_memory() if settings.memory is None else settings.memory)
    if settings.channel is not None:
        volume, settings = volume.select_channel(settings.channel), replace(settings, channel=None)
    plan = models[0].plan
    missing = [name for number, name in enumerate(plan.channels) if number in case.absent or name in settings.missing]
    warn_of_absent(case, plan.channels)
    settings = replace(settings, missing=tuple(missing))
    if settings.dicom and not is_series(volume.path):
        raise DataError(f"{volume.path}: is not a folder of a DICOM series: expected one with --dicom-seg")
    if settings.dicom:  # before the work: headers may not suffice
        empty = np.zeros(volume.grid, np.uint8)
        make_segmentation(empty, volume, plan.labels, settings.codes)
    in_training = find_in_training([model.trained_on for model in models], case.id, image_digest(volume))
    prediction = predict_volume(models, volume, settings, done)
    check_writable(output)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=output, ignore_cleanup_errors=True) as folder:
        stage = Path(folder)
        try:
            written = write_prediction(stage, case.id, prediction, volume, plan, settings)
        except DataError as error:
            raise DataError(str(error).replace(str(stage), str(output))) from None
        sizes = {place: plan.voxel_mm(place, volume.affine, volume.grid) for place in prediction.attention}
        facts: dict[str, Any] = {
            "sha256": hash_images(case),
            "state": state,
            "device": str(prediction.device),
            "trained_on": in_training,
            "attention_mm": sizes,
        }
        facts |= {"missing": missing} if missing else {}
        facts |= {"absent": list(case.absent)} if case.absent else {}
        if image_state(case) != state:
            raise DataError(f"{case.images[0]}: was changed while it was predicted: predict it again")
        return {**facts, "files": move_into_place(stage, written, output, case.id)}


def write_prediction(
    output: Path, case: str, prediction: Prediction, volume: Volume, plan: Plan, settings: Settings
) -> list[Path]:
    """Write the results of a case. Raise DataError if a file cannot be written.

    Return the paths, the label map last: where it is in place, no file is missing.
    """
    labels = plan.labels
    maps = {attention_path(output, case, place): weights for place, weights in prediction.attention.items()}
    maps |= {uncertainty_path(output, case, measure): values for measure, values in prediction.uncertainty.items()}
    if prediction.probabilities is not None:
        maps[probabilities_path(output, case)] = np.moveaxis(prediction.probabilities, 0, -1)
    for path, values in maps.items():
        write_like(path, values, volume)
    with replacing(preview_path(output, case)) as partial_path:
        draw_preview(volume, prediction.label_map, labels).save(partial_path, quality=QUALITY, subsampling=0)
    signal = None if plan.channels[0] in settings.missing else volume.array[0]
    table = describe_structures(prediction.label_map, labels, signal, volume.voxel_ml, prediction.expected_dice)
    write_json(structures_path(output, case), table)
    segmentations = [segmentation_path(output, case)] if settings.dicom else []
    for path in segmentations:
        segmentation = make_segmentation(prediction.label_map, volume, labels, settings.codes)
        with replacing(path) as partial_path:
            segmentation.save_as(partial_path)
    ending = file_ending(volume.path) if settings.file_format == "own" else f".{settings.file_format}"
    mask = prediction_path(output, case, ending)
    write_like(mask, prediction.label_map, volume, labels)
    return [*maps, *segmentations, preview_path(output, case), structures_path(output, case), mask]


def _without_folders(text: str, case: Case, output: Path) -> str:
    """Return a message without the folders of this machine, for ``run.json``."""
    with suppress(OSError):
        text = replace_paths(text, {file: file.name for path in case.images for file in list_files(path)})
    return replace_paths(text, {path: path.name for path in case.images}).replace(f"{output}{os.sep}", "")
