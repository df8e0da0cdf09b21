"""Validate on whole volumes: predict held-out scans in their original space and compute Dice, as a user would."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.evaluation.metrics import dice
from attention_unet.evaluation.structure_attention import StructureAttention, attention_in_structures, mark_unpredicted
from attention_unet.inference.components import drop_small
from attention_unet.inference.locator import Locator
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.machine.memory import machine_memory
from attention_unet.network import UNet
from attention_unet.pictures.mosaic import Scene, cut_to_shown_plane
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import Labels, mask_of

SCENES = 3  # example cases
OVERLAP = 0.25  # of windows; about a third of the work of an overlap of 0.5
LARGER_OVERLAP = 0.5  # for models that gain by it
MOST_LOST = 0.0005  # Dice that the smaller overlap may cost
OVERLAP_CASES = 8


@dataclass(frozen=True)
class Validation:
    """Results of a validation."""

    dice: dict[str, list[float]]  # of each class by case; NaN if prediction and reference are both empty
    dice_cleaned: dict[str, list[float]]  # the same without the small components of each class
    scenes: list[Scene]  # a few example cases to draw
    attention: list[StructureAttention]  # inside and outside the classes of the example cases


def validate(
    network: UNet,
    plan: Plan,
    cases: Sequence[Case],
    *,
    device: torch.device,
    precision: torch.dtype,
    stop: Callable[[], bool],
    locator: Locator | None = None,
    overlap: float = OVERLAP,
    seconds: float | None = None,
) -> Validation | None:
    """Predict cases by a network in eval mode, and compute their Dice; return None if stopped.

    ``stop`` is called before each case; no case is begun after so many seconds. Without a locator, whole scans are
    predicted.
    """
    found = Validation({}, {}, [], [])
    model = Model(network, plan, device, locator=locator)
    image_title = "image" if len(plan.channels) == 1 else f"image, {plan.channels[0]}"
    began = time.monotonic()
    for case in cases:
        if stop():
            return None
        if found.dice and seconds is not None and time.monotonic() - began > seconds:
            break
        memory = machine_memory()  # not the free memory: other programs must not end a training
        volume = read_channels(case, memory)
        label = read_case_label(case, volume, memory)
        wants_scene = len(found.scenes) < SCENES
        # Only the part that the locator finds: masks of early validations reach its border without a reason.
        settings = Settings(precision, overlap, False, attention=wants_scene, memory=memory, drop_small=())
        prediction = predict_volume([model], volume, settings)
        reference, predicted = label.array[0].astype(np.int32), prediction.label_map
        truth = reference, plan.labels, case.unannotated
        found.dice[case.id] = found.dice_cleaned[case.id] = dice_by_class(predicted, *truth)
        cleaned = predicted if plan.labels.overlapping else drop_small(predicted, plan.labels.painted)
        if not np.array_equal(cleaned, predicted):
            found.dice_cleaned[case.id] = dice_by_class(cleaned, *truth)
        if wants_scene:
            maps, shown = prediction.attention, (plan.labels.index(reference), plan.labels.index(predicted))
            scene = Scene(case.id, volume.affine, volume.array[0], *shown, maps, image_title)
            found.scenes.append(cut_to_shown_plane(scene))
            for place, weights in maps.items():
                marked = mark_unpredicted(weights)
                found.attention.extend(attention_in_structures(case.id, place, marked, *truth))
    return found


def judge_overlap(larger: Validation, smaller: Validation) -> float:
    """Return the overlap of windows for predictions: the smaller one, if it costs at most 0.0005 of the mean Dice.

    The second validation has all cases of the first.
    """
    pairs = [(larger.dice[case], smaller.dice[case]) for case in larger.dice]
    lost = np.array([np.subtract(*pair) for pair in pairs])
    known = lost[np.isfinite(lost)]
    return LARGER_OVERLAP if len(known) and known.mean() > MOST_LOST else OVERLAP


def dice_by_class(
    predicted: NDArray[np.generic], reference: NDArray[np.generic], labels: Labels, unannotated: Collection[str] = ()
) -> list[float]:
    """Return the Dice of each class, without ignored voxels; NaN for classes that the reference does not annotate."""
    if labels.ignore is not None:
        known = reference != labels.ignore
        predicted, reference = predicted * known, reference * known
    return [
        np.nan if name in unannotated else dice(mask_of(predicted, group), mask_of(reference, group))
        for name, group in labels.integers.items()
    ]
