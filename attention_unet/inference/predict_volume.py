"""Predict one volume: preprocess it, slide windows over it, resample to the scan's own grid, decide on labels.

Scan, preprocessed image and wanted results are held whole. Windows are predicted a few planes at a time: as soon as no
further window reaches a plane, it is resampled, averaged over the models and decided. Probabilities that are not wanted
are therefore held for as many planes as a window is deep. If the results do not fit into memory, the scan is predicted
in chunks of rows (``chunks.py``).
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.errors import DataError
from attention_unet.files.prediction_folder import MEASURES
from attention_unet.inference.channels import check_missing, select_channels
from attention_unet.inference.chunks import choose_chunks
from attention_unet.inference.components import cleaned_classes, drop_small
from attention_unet.inference.decision import combine_planes
from attention_unet.inference.expected_dice import expected_dice
from attention_unet.inference.locator import cut_to_structures, is_cut
from attention_unet.inference.scan_warnings import warn_if_little_is_predicted, warn_if_unusual
from attention_unet.inference.settings import DEFAULT, Settings
from attention_unet.inference.sliding_window import slide
from attention_unet.inference.window_predictor import attended_places, average_flips, window_predictor
from attention_unet.machine.devices import choose_precision
from attention_unet.machine.memory import out_of_memory
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessed, preprocess
from attention_unet.scans.geometry import resample_to_scan
from attention_unet.scans.volumes import Volume

if TYPE_CHECKING:
    from attention_unet.inference.model import Model

log = logging.getLogger(__name__)
PROCESS = os.getpid()  # in a fork of this process, torch would wait forever for the threads of its parent
# Small windows, such as slices, are predicted together up to this number of voxels.
BATCH_VOXELS = {"cpu": 2**17, "cuda": 2**22, "mps": 2**17}


@dataclass(frozen=True)
class Prediction:
    """Results for a volume, on the volume's own grid.

    Attributes:
        label_map: (I, J, K), the integers of the training's label files. The class with the highest probability, or
            every class above 0.5 where classes overlap.
        attention: by place, the attention weights averaged over channels, (I, J, K) float32.
        probabilities: of background and classes, or of overlapping classes, (K, I, J, K) float32; None if not wanted.
        uncertainty: (I, J, K) float32, 0 to 1. "entropy" is that of the mean of the models; with several models
            "disagreement" is the entropy of the mean minus the mean of the entropies (mutual information; Houlsby et
            al., "Bayesian Active Learning for Classification and Preference Learning", arXiv:1112.5745).
        expected_dice: of each class, see ``expected_dice.py``; before small components are dropped.
        device: where it was computed.
    """

    label_map: NDArray[np.unsignedinteger[Any]]
    attention: dict[str, NDArray[np.float32]]
    probabilities: NDArray[np.float32] | None
    uncertainty: dict[str, NDArray[np.float32]]
    expected_dice: NDArray[np.float64]
    device: torch.device


def predict_volume(
    models: Sequence["Model"],
    volume: Volume,
    settings: Settings = DEFAULT,
    done: Callable[[float], None] = lambda share: None,
) -> Prediction:
    """Predict a volume with one model, or with the mean of several models of the same classes.

    Warns about scans that are empty, or much larger, smaller or coarser than those of the training. If the part that a
    locator found cuts a structure, all of the scan is predicted. A scan that is too large for the memory of a GPU is
    predicted on the CPU, with a warning.

    Args:
        models: models to predict with.
        volume: a scan on its own grid.
        settings: how to predict, and which results are wanted.
        done: called from time to time with the share of the work that is done, 0 to 1.

    Raises:
        ConfigError: if the models cannot predict without the missing channels.
        DataError: if the volume has other channels than the training, does not fit into memory, or is turned in
            different ways by the models; or if a network returns NaN or infinite values.

    Example:
        >>> scan = read_volume("phantoms/Phantom/imagesTr/phantom_000.nii.gz")
        >>> predict_volume([load_model("hippocampus")], scan).label_map.dtype
        dtype('uint8')
    """
    device = models[0].device
    try:
        return _predict_volume(models, volume, settings, done)
    except RuntimeError as error:
        if device.type == "cpu" or not out_of_memory(error):
            raise
    # Outside of the handler, whose exception holds all tensors.
    log.warning("%s: too large for the memory of %s: predicted on the CPU", volume.path, device)
    on_cpu = [model.on(torch.device("cpu")) for model in models]
    return _predict_volume(on_cpu, volume, replace(settings, precision=None), done)


@torch.inference_mode()
def _predict_volume(
    models: Sequence["Model"], volume: Volume, settings: Settings, done: Callable[[float], None]
) -> Prediction:
    """Predict a volume on the device of the models."""
    if os.getpid() != PROCESS:
        torch.set_num_threads(1)
    check_missing(models, settings.missing)
    plan, volume = models[0].plan, select_channels(volume, models[0].plan, settings)
    places_by_model = [attended_places(m.network, m.plan, m.device) if settings.attention else [] for m in models]
    chunks = choose_chunks(volume, models, places_by_model, settings)
    parts = _preprocess_for_each(models, volume)
    warn_if_unusual(volume, parts, plan)
    wholes = [each.scan_grid for each in parts]
    if len({(whole.order, whole.flipped) for whole in wholes}) > 1:
        raise DataError(f"{volume.path}: the models turn its thick slices in different ways: predict with one of them")
    overlap = choose_overlap(models, settings)
    settings = replace(settings, overlap=overlap)
    if not settings.whole_scan:
        parts = [cut_to_structures(model, each) for model, each in zip(models, parts, strict=True)]
    predicted = [each.scan_grid for each in parts]
    results, sums = _predict_parts(models, volume.path, parts, settings, places_by_model, chunks, done)
    cuts = (is_cut(results["label map"], *grids) for grids in zip(predicted, wholes, strict=True))
    if settings.whole_scan is None and any(cuts):
        log.info("%s: the part that was located cuts a structure: predicting all of the scan", volume.path)
        results.clear()
        predicted, parts = wholes, _preprocess_for_each(models, volume)
        results, sums = _predict_parts(models, volume.path, parts, settings, places_by_model, chunks, done)
    if cleaned := cleaned_classes(models, settings):
        integers = dict(zip(plan.labels.names, plan.labels.painted, strict=True))
        results["label map"] = drop_small(results["label map"], [integers[name] for name in cleaned])
    for model, part, whole in zip(models, predicted, wholes, strict=True):
        warn_if_little_is_predicted(volume, part, whole, model.plan)
    stored = {name: wholes[0].as_stored(values) for name, values in results.items()}
    return Prediction(
        label_map=stored["label map"],
        attention={place: stored[place] for place in places_by_model[0] if place in stored},
        probabilities=stored.get("probabilities"),
        uncertainty={measure: stored[measure] for measure in MEASURES if measure in stored},
        expected_dice=expected_dice(sums),
        device=models[0].device,
    )


def _preprocess_for_each(models: Sequence["Model"], volume: Volume) -> list[Preprocessed]:
    """Preprocess a scan for each model; models with the same preprocessing share the image."""
    images = {way: preprocess(volume, way) for way in dict.fromkeys(model.plan.preprocessing for model in models)}
    return [images[model.plan.preprocessing] for model in models]


def _predict_parts(
    models: Sequence["Model"],
    path: Path,
    parts: list[Preprocessed],
    settings: Settings,
    places_by_model: Sequence[Sequence[str]],
    chunks: Sequence[slice],
    done: Callable[[float], None],
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
    """Predict the part of a scan of each model. Return results by name, of the scan along the axes of the network, and
    the sums of ``expected_overlap``.

    The list of parts is empty afterwards, so that their memory is free while the results are finished. Raise DataError
    if a network returns NaN or infinite values.
    """
    labels, scan = models[0].plan.labels, parts[0].scan_grid.scan
    most = labels.channels + max(map(len, places_by_model))  # values per voxel
    results: dict[str, NDArray[Any]] = {}
    sums = np.zeros((3, len(labels.names)))
    for number, rows in enumerate(chunks):
        at_once = min(part.scan_grid.planes_back(most, rows) for part in parts)
        streams = [
            predict_planes(model, part, settings, places, rows, at_once)
            for model, part, places in zip(models, parts, places_by_model, strict=True)
        ]
        first = 0
        for planes in zip(*streams, strict=True):
            stop = first + planes[0].shape[1]
            if not all(each.sum().isfinite() for each in planes):
                raise DataError(
                    f"{path}: the network returned NaN or infinite values: look at its attention, or predict in float32"
                )
            combined, of_planes = combine_planes(planes, places_by_model, labels, settings)
            sums += of_planes
            for name, values in combined.items():
                if name not in results:
                    results[name] = np.empty((*values.shape[:-3], *scan), dtype=values.dtype)
                results[name][..., first:stop, rows, :] = values
            done((number + stop / scan[0]) / len(chunks))
            first = stop
    parts.clear()
    return results, sums


def choose_overlap(models: Sequence["Model"], settings: Settings) -> float:
    """Return the overlap of windows: as asked for, or the largest that was chosen for one of the models."""
    return max(model.overlap for model in models) if settings.overlap is None else settings.overlap


def predict_planes(
    model: "Model", image: Preprocessed, settings: Settings, places: Sequence[str], rows: slice, at_once: int
) -> Iterator[Tensor]:
    """Predict some rows, along the second RAS+ axis, of a scan or a part of it with one model.

    Yields:
        Probabilities, then attention at the places, on the grid of the scan and the device of the model:
        (K, ``at_once`` or fewer, rows, columns).
    """
    model.network.eval()
    plan, precision = model.plan, settings.precision or choose_precision("auto", model.device)
    predictor = window_predictor(model.network, plan, precision, places)
    if settings.tta:
        predictor = average_flips(predictor, plan.mirror_axes)
    unseen = torch.zeros(plan.labels.channels + len(places), dtype=torch.float32, device=model.device)
    if not plan.labels.overlapping:
        unseen[0] = 1.0  # background
    start, stop = image.scan_grid.rows_for(rows)
    planes = slide(
        image.image.to(model.device),
        plan.patch,
        predictor,
        unseen=unseen,
        background=image.background,
        overlap=choose_overlap([model], settings),
        rows=(start, stop),
        batch=batch_of(plan, precision, model.device),
        stack_axis=plan.preprocessing.stack_axis,
    )
    grid = image.scan_grid.grid
    of_rows = image.scan_grid.cut(((0, grid[0]), (start, stop), (0, grid[2])))
    return resample_to_scan(planes, of_rows, outside=unseen, rows=rows, planes=at_once)


def batch_of(plan: Plan, precision: torch.dtype, device: torch.device) -> int:
    """Return how many windows to predict at once.

    The number does not depend on the free memory, because in half precision results depend on it a little.
    On a CPU, two windows at once are no faster than one in half precision, and a little faster in float32.
    """
    at_least = 1 if precision != torch.float32 and device.type != "cuda" else 2
    return max(at_least, BATCH_VOXELS[device.type] // math.prod(plan.patch))
