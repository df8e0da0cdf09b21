"""Prediction of one volume: prepare, slide, put back on the scan's own grid, decide.

All of it a few planes at a time: as soon as no further window reaches a plane, it is put back, averaged over the models
and decided. What is held of the probabilities is as deep as a window, however large the scan.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.errors import ConfigError, DataError
from attention_unet.files.prediction_folder import MEASURES
from attention_unet.inference.components import keep_largest, pool_gains
from attention_unet.inference.decision import combine_planes
from attention_unet.inference.settings import Settings
from attention_unet.inference.sliding_window import slide
from attention_unet.inference.strips import Load, Told, choose_strips
from attention_unet.inference.window_predictor import attended_levels, seen_mirrored, window_predictor
from attention_unet.machine.devices import precision_of
from attention_unet.machine.memory import free_memory
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessed, preprocess
from attention_unet.scans.geometry import fit_grid, resample_to_scan
from attention_unet.scans.volumes import Volume

if TYPE_CHECKING:
    from attention_unet.inference.model import Model

PROCESS = os.getpid()  # a fork of it would wait for ever for the threads that computed in this one
WRITING, FINDING_COMPONENTS = 4, 10  # bytes a voxel that are held for it
# Times the largest case of the training, or of that and a window the smaller, along an axis.
MUCH_LARGER, MUCH_SMALLER = 2.0, 0.25
MUCH_COARSER = 3.0


@dataclass(frozen=True)
class Prediction:
    """What is said of a volume, on the volume's own grid.

    Attributes:
        label_map: (I, J, K) of the training's integers: the likeliest class, or every class above 0.5 where they
            overlap.
        attention: for each attended level, the weights applied there, averaged over channels, (I, J, K) float32.
        probabilities: of background and classes (K, I, J, K), or of overlapping classes, float32, if asked for.
        uncertainty: (I, J, K) float32, from 0 to 1: "entropy" of the mean of the models, and if there are several their
            "disagreement", the part of it that is not the mean of their own entropies (mutual information; Houlsby et
            al., "Bayesian Active Learning for Classification and Preference Learning", arXiv:1112.5745).
    """

    label_map: NDArray[np.unsignedinteger[Any]]
    attention: dict[int, NDArray[np.float32]]
    probabilities: NDArray[np.float32] | None
    uncertainty: dict[str, NDArray[np.float32]]


@torch.inference_mode()
def predict_volume(
    models: "Sequence[Model]", volume: Volume, settings: Settings, done: Callable[[float], None] = lambda share: None
) -> Prediction:
    """Predict a volume by one model, or by the mean of several of the same classes.

    Args:
        models: to predict with.
        volume: as it lies in its file.
        settings: how to predict, and what to tell.
        done: called now and then with the share of the work that is done.

    Warns of a scan that shows nothing, or much more or less than those of the training.

    Raises:
        DataError: if the volume has not the channels of the training, or takes more memory than it may.
    """
    if os.getpid() != PROCESS:
        torch.set_num_threads(1)
    plan = models[0].plan
    if settings.channel is not None:
        volume = volume.of_channel(settings.channel)
    if len(volume.array) != len(plan.channels):
        advice = "; take one of them: --channel, or Settings(channel=...)" if len(plan.channels) == 1 else ""
        raise DataError(
            f"{volume.path}: has {len(volume.array)} channels: the model was trained on "
            f"{len(plan.channels)} ({', '.join(plan.channels)}){advice}"
        )
    levels = [
        attended_levels(model.network, model.plan, model.device) if settings.attention else [] for model in models
    ]
    loads = [load_of(model, volume, settings, len(own)) for model, own in zip(models, levels, strict=True)]
    strips = choose_strips(volume, loads, told_of(models, settings, levels), memory_of(volume, settings))
    for model in models:
        model.network.eval()
    ways = dict.fromkeys(model.plan.preprocessing for model in models)
    prepared = {way: preprocess(volume, way) for way in ways}
    scan_grid = prepared[plan.preprocessing].scan_grid
    if not any(image.image.any() for image in prepared.values()):
        warnings.warn(f"{volume.path}: shows nothing, all voxels are alike", stacklevel=2)
    _warn_of_size(volume, np.array(scan_grid.grid) * plan.preprocessing.spacing_mm, plan)
    if min(scan_grid.step) < 1 / MUCH_COARSER:
        own, known = (
            " x ".join(f"{mm:.3g}" for mm in size)
            for size in (np.array(plan.preprocessing.spacing_mm) / scan_grid.step, plan.preprocessing.spacing_mm)
        )
        warnings.warn(
            f"{volume.path}: has voxels of {own} mm, left-right by back-front by down-up: the model was trained for "
            f"{known} mm, much finer ones",
            stacklevel=2,
        )
    told: dict[str, NDArray[Any]] = {}
    for number, rows in enumerate(strips):
        most = plan.labels.channels + max(map(len, levels))  # values of a voxel
        planes = min(image.scan_grid.planes_back(most, rows) for image in prepared.values())
        streams = [
            planes_on_scan(model, prepared[model.plan.preprocessing], settings, own, rows, load.batch, planes)
            for model, own, load in zip(models, levels, loads, strict=True)
        ]
        first = 0
        for slabs in zip(*streams, strict=True):
            stop = first + slabs[0].shape[1]
            for name, values in combine_planes(slabs, levels, plan.labels, settings).items():
                if name not in told:
                    told[name] = np.empty((*values.shape[:-3], *scan_grid.scan), dtype=values.dtype)
                told[name][..., first:stop, rows, :] = values
            done((number + stop / scan_grid.scan[0]) / len(strips))
            first = stop
    prepared.clear()
    if chosen := single_component_classes(models, settings):
        integers = dict(zip(plan.labels.names, plan.labels.painted, strict=True))
        told["label map"] = keep_largest(told["label map"], [integers[name] for name in chosen])
    stored = {name: scan_grid.as_stored(values) for name, values in told.items()}
    return Prediction(
        label_map=stored["label map"],
        attention={level: stored[f"level {level}"] for level in levels[0] if f"level {level}" in stored},
        probabilities=stored.get("probabilities"),
        uncertainty={measure: stored[measure] for measure in MEASURES if measure in stored},
    )


def single_component_classes(models: "Sequence[Model]", settings: Settings) -> list[str]:
    """Classes that keep only their largest connected component: those the settings name, else those to which it did
    good on the held-out cases of the models.
    """
    names = models[0].plan.labels.names
    if isinstance(settings.keep_largest, str) or set(settings.keep_largest or ()) - set(names):
        raise ConfigError(f"keep_largest is {settings.keep_largest!r}: expected some of the classes {', '.join(names)}")
    if settings.keep_largest is not None:
        return [name for name in names if name in settings.keep_largest]
    gains = pool_gains(model.component_gains for model in models)
    return [name for name in names if name in gains and gains[name].helps]


def load_of(model: "Model", volume: Volume, settings: Settings, levels: int) -> Load:
    """What prediction of a volume by a model, which tells so many levels of attention, is made of."""
    plan = model.plan
    return Load(
        preprocessing=plan.preprocessing,
        scan_grid=fit_grid(volume.affine, volume.grid, plan.preprocessing.spacing_mm),
        channels=len(plan.channels),
        window=plan.patch,
        features=plan.architecture["channels"][0],
        values=plan.labels.channels + levels,
        fast=_precision(model, settings) != torch.float32,
        elsewhere=model.device.type == "cuda",
    )


def told_of(models: "Sequence[Model]", settings: Settings, levels: Sequence[Sequence[int]]) -> Told:
    """What is told of each voxel."""
    labels = models[0].plan.labels
    measures = settings.uncertainty * (1 if len(models) == 1 else len(MEASURES))
    maps = measures + len(levels[0]) + settings.probabilities * labels.channels
    held = np.dtype(labels.dtype).itemsize + np.dtype(np.float32).itemsize * maps
    return Told(held, FINDING_COMPONENTS if single_component_classes(models, settings) else WRITING)


def memory_of(volume: Volume, settings: Settings) -> int:
    """Bytes that may be held, the volume included, which is there already."""
    return free_memory() + volume.array.nbytes if settings.memory is None else settings.memory


def planes_on_scan(
    model: "Model",
    prepared: Preprocessed,
    settings: Settings,
    levels: Sequence[int],
    rows: slice,
    batch: int,
    planes: int,
) -> Iterator[Tensor]:
    """Yield probabilities, then attention of levels, for chunks of planes of a strip of the scan: (K, planes, J, K)."""
    precision = _precision(model, settings)
    predictor = window_predictor(model.network, model.plan, precision, levels)
    if settings.mirrored:
        predictor = seen_mirrored(predictor, model.plan.mirror_axes)
    labels = model.plan.labels
    unseen = torch.zeros(labels.channels + len(levels))
    if not labels.overlapping:
        unseen[0] = 1.0
    scan_grid = prepared.scan_grid
    start, stop = scan_grid.rows_for(rows)
    finished = slide(
        prepared.image.to(model.device),
        model.plan.patch,
        predictor,
        unseen=unseen,
        air=prepared.air,
        overlap=settings.overlap,
        rows=(start, stop),
        batch=batch,
    )
    of_strip = scan_grid.cut(((0, scan_grid.grid[0]), (start, stop), (0, scan_grid.grid[2])))
    return resample_to_scan((planes.cpu() for planes in finished), of_strip, outside=unseen, rows=rows, planes=planes)


def _precision(model: "Model", settings: Settings) -> torch.dtype:
    return settings.precision or precision_of("auto", model.device)


def _warn_of_size(volume: Volume, extent_mm: NDArray[np.float64], plan: Plan) -> None:
    """Warn of a scan that shows much more than those trained on, as a whole head is for a model of cut-out parts, or
    much less, as a single slice.
    """
    largest_mm, window_mm = np.array(plan.largest_mm), np.array(plan.patch) * plan.preprocessing.spacing_mm
    if (extent_mm > MUCH_LARGER * largest_mm).any():
        text = "the model was trained on scans of up to about {} mm and may label what it does not know: crop the scan"
    elif (extent_mm < MUCH_SMALLER * np.minimum(largest_mm, window_mm)).any():
        text = "the model was trained on scans of up to about {} mm and may not know what shows so little"
    else:
        return
    found, known = (" x ".join(f"{edge:.0f}" for edge in edges) for edges in (extent_mm, largest_mm))
    warnings.warn(
        f"{volume.path}: is about {found} mm, left-right by back-front by down-up; {text.format(known)}", stacklevel=3
    )
