"""Predict a folder of scans: find them, claim the output folder, predict case by case, record how in ``run.json``."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attention_unet.dataset.cases import Case
from attention_unet.dataset.splits import read_held_out
from attention_unet.files.atomic import check_replaceable, write_text
from attention_unet.files.lock import Busy, folder_lock, record_lock
from attention_unet.files.part import WHOLE, Part
from attention_unet.files.prediction_record import is_complete
from attention_unet.inference.channels import check_missing
from attention_unet.inference.components import cleaned_classes
from attention_unet.inference.inputs import TABLE, find_inputs, read_scan_table
from attention_unet.inference.model import Model
from attention_unet.inference.output_folder import claim_output
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.record import describe_predictions, finish_part
from attention_unet.inference.settings import DEFAULT, Settings
from attention_unet.inference.structures import VOLUMES, VOLUMES_MARK, write_volumes
from attention_unet.inference.window_predictor import attended_places
from attention_unet.machine.memory import reuse_freed_memory
from attention_unet.machine.progress import progress_bar
from attention_unet.scans.dicom_segmentation import check_codes
from attention_unet.scans.label_table import itk_snap_table

ITK_SNAP = "itk-snap_labels.txt"

log = logging.getLogger(__name__)


def predict_folder(
    models: Sequence[Model],
    source: str | Path,
    output: str | Path,
    settings: Settings = DEFAULT,
    *,
    held_out_of: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    part: Part = WHOLE,
) -> dict[str, str]:
    """Segment a scan, or every scan of a folder; ``attention-unet predict`` does the same.

    Args:
        models: models of the same classes and channels. Their probabilities are averaged.
        source: a file (NIfTI, NRRD, MetaImage, FreeSurfer), the folder of a DICOM series, a folder of these, or a CSV
            table of them, as ``read_scan_table`` takes it.
        output: folder for the label maps, the maps that the settings ask for, and ``run.json``.
        settings: how to predict, and what to write.
        held_out_of: folder of a run; predict only the cases that it held out.
        resume: keep predictions that are there, if model, settings and scan are the same.
        overwrite: replace predictions that are there. With ``resume``: those that are not the same.
        part: part of the scans to predict, so that several processes share them.

    Returns:
        Reason of failure by case id; empty if all cases were predicted.

    Raises:
        ConfigError: if there is no scan, or files in the output folder would be lost or mixed with others.
        DataError: if the output folder cannot be written to.

    Example:
        >>> predict_folder([load_model("hippocampus")], "phantoms/Phantom/imagesTs", "masks")
        {}
    """
    may_miss, channels = all(model.plan.channels_may_miss for model in models), models[0].plan.channels
    if Path(source).suffix.lower() == TABLE and not Path(source).is_dir():
        cases = read_scan_table(Path(source), channels, may_miss)
    else:
        cases = find_inputs(Path(source), len(channels), may_miss)
    if held_out_of:
        chosen = read_held_out(Path(held_out_of), [case.id for case in cases])
        cases = [case for case in cases if case.id in chosen]
    return predict_cases(models, cases, Path(output), settings, resume=resume, overwrite=overwrite, part=part)


def predict_cases(
    models: Sequence[Model],
    cases: Sequence[Case],
    output: Path,
    settings: Settings = DEFAULT,
    *,
    resume: bool = False,
    overwrite: bool = False,
    part: Part = WHOLE,
) -> dict[str, str]:
    """Segment those of the cases that belong to a part. Arguments, result and errors are as in ``predict_folder``."""
    model, own = models[0], [case for case in cases if part.has(case.id)]
    check_missing(models, settings.missing)
    if settings.dicom:
        check_codes(model.plan.labels, settings.codes)
    places = attended_places(model.network, model.plan, model.device) if settings.attention else []
    cleaned = cleaned_classes(models, settings)
    description = describe_predictions(models, settings, cleaned, output)
    reuse_freed_memory()
    with folder_lock(output, part=part):
        check_replaceable(output / VOLUMES, VOLUMES_MARK)
        left = claim_output(output, cases, description, settings.extras, resume=resume, overwrite=overwrite, part=part)
        if settings.tta and not any(m.plan.mirror_axes for m in models):
            log.warning("--tta changes nothing: the training flipped no axis (augmentation.flip_axes)")
        if cleaned:
            text = "of these classes, components smaller than half the largest are dropped (--keep-all-components): %s"
            log.info(text, ", ".join(cleaned))
        if left:
            log.info("predicting on %s", model.device)
        _write_itk_snap(output / ITK_SNAP, itk_snap_table(model.plan.labels))
        with progress_bar("predicting", len(left)) as done:
            failed = predict_files(left, output, models, settings, done)
        if not finish_part(output, part) and own:
            log.info("%s is written when all %d parts are finished", VOLUMES, part.count)
        with record_lock(output):
            if is_complete(output):
                write_volumes(output)
    if part.count > 1:
        with suppress(Busy), folder_lock(output, patience=0):  # removes what killed parts left, if none is at work
            pass
    if own or part.folder == Path():
        log.info("%d predicted, %d failed; output in %s", len(left) - len(failed), len(failed), output)
    if settings.attention and not places:
        log.info("the attention of this model gives no maps, so that no file is written for it")
    return failed


def _write_itk_snap(file: Path, table: str) -> None:
    """Write the label file of ITK-SNAP, unless there is one: somebody may have changed its colours."""
    if not file.exists():
        write_text(file, table)
    elif file.read_bytes() != table.encode():
        log.warning("%s: differs from the classes of the model, and is kept: remove it to have it written anew", file)
