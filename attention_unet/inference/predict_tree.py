"""Predict the scans of a tree of folders: each folder into one of the same path, with a ``run.json`` of its own."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from attention_unet.errors import ConfigError
from attention_unet.inference.bids import describe_derivative, describe_masks, find_bids_scans
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.predict_folder import predict_cases
from attention_unet.inference.settings import DEFAULT, Settings
from attention_unet.inference.structures import check_volumes, write_volumes
from attention_unet.scans.dicom import is_series
from attention_unet.scans.volume_files import list_volumes

log = logging.getLogger(__name__)


def predict_tree(
    models: Sequence[Model],
    source: str | Path,
    output: str | Path,
    settings: Settings = DEFAULT,
    *,
    bids: Sequence[str] = (),
    participants: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, str]:
    """Segment the scans in a folder and in all folders below it, or those of a BIDS dataset.

    Args:
        models: models of the same classes and channels. Their probabilities are averaged.
        source: the folder. Hidden folders, links to folders and the output folder are not searched.
        output: folder for the results: those of ``source/a/b`` are in ``output/a/b``.
        settings: how to predict, and what to write.
        bids: suffixes of the scans of a BIDS dataset, one for each channel, such as ``["T1w"]``. The output is then a
            BIDS derivative.
        participants: participants of a BIDS dataset; empty: all.
        resume: keep predictions that are there, if model, settings and scan are the same.
        overwrite: replace predictions that are there. With ``resume``: those that are not the same.

    Returns:
        Reason of failure by folder and case id.

    Raises:
        ConfigError: if there is no scan, or files in the output folder would be lost or mixed with others.
        DataError: if the output folder cannot be written to.

    Example:
        >>> predict_tree([load_model("hippocampus")], "study", "masks")
        {}
    """
    source, output = Path(source), Path(output)
    if not source.is_dir():
        raise ConfigError(f"{source}: is no folder: expected one that holds folders of scans")
    channels = len(models[0].plan.channels)
    if bids:
        if settings.file_format != "nii.gz":
            raise ConfigError(
                f"BIDS masks are NIfTI files: expected no other format than nii.gz, not {settings.file_format}"
            )
        if len(bids) != channels:
            raise ConfigError(
                f"--bids-suffix is given {len(bids)} times: the model takes {channels} channels, so give it as often"
            )
        folders = find_bids_scans(source, bids, participants)
        describe_derivative(output, source)
    else:
        may_miss = all(model.plan.channels_may_miss for model in models)
        folders = {
            folder: find_inputs(source / folder, channels, may_miss, alone=False)
            for folder in _folders_of_scans(source, output)
        }
    if not folders:
        raise ConfigError(f"{source}: holds no scan, and no folder below it does: check the path")
    check_volumes(output)
    failed: dict[str, str] = {}
    began = time.monotonic()
    for number, (folder, cases) in enumerate(folders.items()):
        left = (time.monotonic() - began) / number * (len(folders) - number) / 60 if number else None
        log.info("folder %d of %d: %s%s", number + 1, len(folders), folder, f", {left:.0f} min left" if number else "")
        of_folder = predict_cases(models, cases, output / folder, settings, resume=resume, overwrite=overwrite)
        failed |= {(folder / case).as_posix(): reason for case, reason in of_folder.items()}
        if bids:
            describe_masks(output / folder, source, cases, models[0].plan.labels)
    write_volumes(output, below=True)
    return failed


def _folders_of_scans(source: Path, output: Path) -> list[Path]:
    """Return the folders that hold volumes or folders of DICOM series, relative to the source."""
    found = []
    for place, names, _ in os.walk(source):
        folder = Path(place)
        below = sorted(name for name in names if not name.startswith("."))
        series = [name for name in below if is_series(folder / name)]
        if list_volumes(folder) or series:
            found.append(folder.relative_to(source))
        names[:] = [name for name in below if name not in series and (folder / name).resolve() != output.resolve()]
    return found
