"""Predict the scans of a tree of folders: each folder into one of the same path, with a ``run.json`` of its own."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from attention_unet.dataset.cases import Case
from attention_unet.errors import ConfigError, DataError, first_few, raise_interruption
from attention_unet.files.atomic import check_replaceable
from attention_unet.files.lock import RECORD_PATIENCE, folder_lock
from attention_unet.files.part import WHOLE, Part
from attention_unet.files.prediction_record import RECORD, is_complete, is_of_prediction
from attention_unet.inference.bids import describe_derivative, describe_masks, find_bids_scans, keep_held_out
from attention_unet.inference.channels import are_swapped, comparable
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.predict_folder import predict_cases
from attention_unet.inference.settings import DEFAULT, Settings
from attention_unet.inference.structures import VOLUMES, VOLUMES_MARK, write_volumes
from attention_unet.scans.dicom import holds_images, is_series
from attention_unet.scans.volume_files import list_unread, list_volumes

log = logging.getLogger(__name__)

SUFFIXES = {"T1w", "T2w", "PDw", "FLAIR"}  # channels of a model that was trained on BIDS


def predict_tree(
    models: Sequence[Model],
    source: str | Path,
    output: str | Path,
    settings: Settings = DEFAULT,
    *,
    bids: Sequence[str] = (),
    participants: Sequence[str] = (),
    held_out_of: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    part: Part = WHOLE,
) -> dict[str, str]:
    """Segment the scans in a folder and in all folders below it, or those of a BIDS dataset.

    Results of ``source/a/b`` are in ``output/a/b``. Hidden folders, links to folders (other than series) and the output
    folder are not searched. ``bids`` has the suffix of the scans of a BIDS dataset for each channel, as in ``["T1w"]``;
    the output is then a BIDS derivative, of all participants if none is named. ``held_out_of`` is for BIDS only. Other
    arguments are as in ``predict_folder``.

    Return the reason of failure by folder and case id. A folder that fails as a whole stops no other. Raise ConfigError
    if there is no scan, a held-out one is missing, the output folder is of another dataset, or all folders are refused;
    DataError if the output folder cannot be written to.
    """
    source, output = Path(source), Path(output)
    if not source.is_dir():
        raise ConfigError(f"{source}: is not a folder: expected one that holds folders of scans")
    if not bids and (source / "dataset_description.json").is_file():
        log.warning(
            "%s: is a BIDS dataset: all its volumes are predicted, also its derivatives; to predict its scans, name "
            "their suffix, such as --bids-suffix T1w",
            source,
        )
    check_replaceable(output / VOLUMES, VOLUMES_MARK)
    folders, failed = _find_scans(models, source, output, settings, bids, participants)
    if held_out_of:
        folders, failed = keep_held_out(folders, failed, Path(held_out_of), participants)
    if not folders:
        nothing = f"{source}: holds no scan, and no folder below it does: check the path"
        raise ConfigError(next(iter(failed.values()), nothing))
    if bids:
        describe_derivative(output, source, bids)
    failed = {name: reason for name, reason in failed.items() if part.has(name)}
    began, refused = time.monotonic(), []
    for number, (folder, cases) in enumerate(folders.items()):
        here = replace(part, folder=folder)
        own = [case for case in cases if here.has(case.id)]
        left = (time.monotonic() - began) / max(number, 1) * (len(folders) - number) / 60
        still = f", {left:.0f} min left" if left >= 1 else ""
        if own:
            log.info("folder %d of %d: %s%s", number + 1, len(folders), folder, still)
        of_folder: dict[str, str] = {}
        try:
            of_folder = predict_cases(
                models, cases, output / folder, settings, resume=resume, overwrite=overwrite, part=here
            )
            if bids:
                with folder_lock(output / folder, RECORD_PATIENCE, here):
                    describe_masks(output / folder, source, own, models[0].plan.labels)
            (output / VOLUMES).unlink(missing_ok=True)  # it is not that of these masks
        except (ConfigError, DataError, OSError) as error:  # the other folders can still be predicted
            raise_interruption(error)
            of_folder = {**of_folder, ".": str(error)}
            refused += [str(error)] if isinstance(error, ConfigError) else []
        failed |= {(folder / case).as_posix(): reason for case, reason in of_folder.items()}
    if len(refused) == len(folders):
        raise ConfigError(refused[0] + (f"; all {len(refused)} folders are refused" if refused[1:] else ""))
    if part.count == 1 or all(is_complete(output / folder) for folder in folders):
        with folder_lock(output, RECORD_PATIENCE, part):
            write_volumes(output, [model.sha256 for model in models])
    return failed


def _find_scans(
    models: Sequence[Model],
    source: Path,
    output: Path,
    settings: Settings,
    bids: Sequence[str],
    participants: Sequence[str],
) -> tuple[dict[Path, list[Case]], dict[str, str]]:
    """Return the cases by folder, relative to the source; and reasons for what cannot be predicted."""
    channels = len(models[0].plan.channels)
    may_miss = all(model.plan.channels_may_miss for model in models)
    if not bids:
        folders, failed = {}, {}
        for folder in _folders_of_scans(source, output):
            try:
                folders[folder] = find_inputs(source / folder, channels, may_miss, alone=False)
            except (ConfigError, DataError, OSError) as error:
                failed[folder.as_posix()] = str(error)
        return folders, failed
    if settings.file_format != "nii.gz":
        raise ConfigError(f"BIDS masks are NIfTI files: expected the format nii.gz, not {settings.file_format}")
    if len(bids) != channels:
        raise ConfigError(
            f"--bids-suffix is given {len(bids)} times: the model takes {channels} channels, so give it as often"
        )
    given = models[0].plan.channels
    if are_swapped(bids, given):
        raise ConfigError(
            f"--bids-suffix is {' '.join(bids)}: the model was trained on {' '.join(given)}, in this order"
        )
    if comparable(bids) != comparable(given) and set(given) & SUFFIXES:
        log.warning("--bids-suffix is %s: the model was trained on %s", " ".join(bids), " ".join(given))
    return find_bids_scans(source, bids, participants, may_miss)


def _folders_of_scans(source: Path, output: Path) -> list[Path]:
    """Return the folders that hold volumes or folders of DICOM series, relative to the source. Report what is not read.

    Folders of predictions are left out: their masks are no scans. Raise ConfigError if the source is such a folder.
    """
    passed: list[Path] = []

    def pass_over(error: OSError) -> None:
        passed.append(Path(error.filename))

    found = [Path()] if is_series(source) else []
    for place, names, _ in os.walk(source, onerror=pass_over):
        folder = Path(place)
        if is_of_prediction(folder):
            if folder == source:
                raise ConfigError(f"{source}: holds predictions ({RECORD}): name the folder of the scans")
            log.warning("%s: holds predictions: not predicted", folder)
            names.clear()
            continue
        names[:] = [n for n in sorted(names) if not n.startswith(".") and (folder / n).resolve() != output.resolve()]
        series = (folder / name for name in names if is_series(folder / name) and not list_volumes(folder / name))
        passed += [folder / name for name in names if (folder / name).is_symlink() and not is_series(folder / name)]
        if list_volumes(folder) or any(map(holds_images, series)):
            found.append(folder.relative_to(source))
        else:
            passed += [folder / name for name in list_unread(folder)]
    if passed:
        log.warning("%s: not predicted: %s", source, first_few([str(path.relative_to(source)) for path in passed]))
    return list(dict.fromkeys(found))
