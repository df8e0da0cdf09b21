"""Whole-volume validation: the held-out scans, predicted and scored just as a user would, in their original space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels, read_label_of
from attention_unet.evaluation.metrics import dice
from attention_unet.evaluation.structure_attention import StructureAttention, attention_in_structures
from attention_unet.inference.components import keep_largest
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.machine.memory import machine_memory
from attention_unet.network import UNet
from attention_unet.pictures.mosaic import Scene
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume

SCENES = 3
OVERLAP = 0.25  # of windows: about a third of the work of the half that users predict with


@dataclass(frozen=True)
class Validation:
    """Dice of each class for each case, NaN where prediction and reference are both empty, the same if each class kept
    only its largest connected component, a few scenes, and where attention lies.
    """

    dice: dict[str, list[float]]
    of_largest: dict[str, list[float]]
    scenes: list[Scene]
    focus: list[StructureAttention]


def validate(
    network: UNet,
    plan: Plan,
    cases: Sequence[Case],
    *,
    device: torch.device,
    precision: torch.dtype,
    stop: Callable[[], bool],
) -> Validation | None:
    """Predict and score cases; None if ``stop`` says so between two cases.

    Args:
        network: in eval mode.
        plan: it is trained by.
        cases: to predict.
        device: to compute on.
        precision: torch.float32 or torch.bfloat16.
        stop: asked before each case.
    """
    scores: dict[str, list[float]] = {}
    of_largest: dict[str, list[float]] = {}
    scenes: list[Scene] = []
    focus: list[StructureAttention] = []
    model = Model(network, plan, device)
    for case in cases:
        if stop():
            return None
        whole = machine_memory()  # a training does not end for what other programs hold just now
        volume = read_channels(case, whole)
        label = read_label_of(case, volume, whole)
        wants_scene = len(scenes) < SCENES
        settings = Settings(precision, OVERLAP, attention=wants_scene, memory=whole, keep_largest=())
        prediction = predict_volume([model], volume, settings)
        reference, predicted = label.array[0].astype(np.int64), prediction.label_map
        scores[case.id] = dice_by_class(predicted, reference, plan.labels)
        largest = keep_largest(predicted, plan.labels.painted)
        changed = not plan.labels.overlapping and not np.array_equal(largest, predicted)
        of_largest[case.id] = dice_by_class(largest, reference, plan.labels) if changed else scores[case.id]
        if wants_scene:
            scenes.append(make_scene(case.id, volume, reference, prediction, plan))
            for level, weights in prediction.attention.items():
                focus += attention_in_structures(case.id, level, weights, reference, plan.labels)
    return Validation(scores, of_largest, scenes, focus)


def dice_by_class(predicted: NDArray[np.generic], reference: NDArray[np.generic], labels: Labels) -> list[float]:
    """Dice of each class."""
    return [dice(np.isin(predicted, group), np.isin(reference, group)) for group in labels.integers.values()]


def mean_dice(scores: dict[str, list[float]], classes: int) -> list[float]:
    """Mean Dice of each class over the cases where it is defined; NaN where it is nowhere."""
    table = np.array([scores[case] for case in sorted(scores)]).reshape(-1, classes)
    defined = ~np.isnan(table)
    count = defined.sum(axis=0)
    total = np.where(defined, table, 0.0).sum(axis=0)
    return [float(t / n) if n else float("nan") for t, n in zip(total, count, strict=True)]


def make_scene(title: str, volume: Volume, reference: NDArray[np.int64], prediction: Prediction, plan: Plan) -> Scene:
    """What a picture shows of a prediction, with all attended levels."""
    sizes = {level: " x ".join(f"{mm:.3g}" for mm in plan.voxel_mm(level)) for level in prediction.attention}
    return Scene(
        title=title,
        affine=volume.affine,
        image=volume.array[0],
        reference=plan.labels.index(reference),
        prediction=plan.labels.index(prediction.label_map),
        attention={f"level {n}\n{sizes[n]} mm": weights for n, weights in prediction.attention.items()},
    )
