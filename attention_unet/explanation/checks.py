"""Checks of attention on a scan that the network has not seen: is it needed, was it learned, does it matter?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attention_unet.data.cases import Case
from attention_unet.data.predictions import grad_cam_path
from attention_unet.data.preprocessing import read_channels, read_label_of
from attention_unet.data.volumes import Volume, write_like
from attention_unet.evaluation.focus import focus_of
from attention_unet.explanation.alteration import altered, possible
from attention_unet.explanation.deletion import SHARES, at_random, order_by, without
from attention_unet.explanation.grad_cam import grad_cam
from attention_unet.explanation.randomisation import STAGES, Stage, similarity
from attention_unet.geometry import place
from attention_unet.inference.model import Model
from attention_unet.inference.output_folder import note_files
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.training.validation import score

TRAINED = "as trained"
OVERLAP = 0.25  # of windows: these are many predictions
SPREAD = 1e-3  # standard deviation of weights over a scan; below it a map shows no place


@dataclass(frozen=True)
class Deletion:
    """Mean Dice over the classes with the first of ``SHARES`` of a scan's voxels deleted, then the next, and so on.

    Attributes:
        level: whose weights tell the order; the finest that has a map.
        by_attention: highest weights first.
        by_chance: blocks of that level's voxel size at random.
    """

    level: int
    by_attention: list[float]
    by_chance: list[float]


@dataclass(frozen=True)
class CaseChecks:
    """What was found in a case.

    Attributes:
        case: its name.
        dice: mean over the classes as trained, and under each alteration that is possible.
        similarity: rank correlation with the trained map, by stage of randomisation and level that has a map.
        deletion: None where no level has a map.
        grad_cam: by class how likely a voxel of it has a higher Grad-CAM than one of no class, as the AUC of attention.
    """

    case: str
    dice: dict[str, float]
    similarity: dict[Stage, dict[int, float]]
    deletion: Deletion | None
    grad_cam: dict[str, float]


def steps_a_case(model: Model) -> int:
    """How often ``check_case`` calls ``done``."""
    of_attention = len(STAGES) + 2 * len(SHARES[1:]) if possible(model.network) else 0
    return 1 + len(possible(model.network)) + of_attention + len(model.plan.labels.names)


def check_case(
    model: Model, strangers: Mapping[Stage, Model], case: Case, output: Path, seed: int, done: Callable[[], None]
) -> CaseChecks:
    """Check a model on a case, and write Grad-CAM of each class beside its prediction.

    Args:
        model: trained.
        strangers: the same with random parameters, by stage; none of a network without attention.
        case: with its reference, which the model was not trained on.
        output: folder of the predictions.
        seed: of all that is random.
        done: called after each prediction.

    Raises:
        DataError: if a file cannot be read or written.
    """
    labels, volume = model.plan.labels, read_channels(case)
    reference = read_label_of(case, volume).array[0].astype(np.int64)

    def predict(predictor: Model, scan: Volume, attention: bool = False) -> Prediction:
        prediction = predict_volume([predictor], scan, Settings(overlap=OVERLAP, attention=attention, keep_largest=()))
        done()
        return prediction

    def dice(prediction: Prediction) -> float:
        values = [value for value in score(prediction.label_map, reference, labels) if not np.isnan(value)]
        return float(np.mean(values)) if values else float("nan")

    trained = predict(model, volume, attention=True)
    found = {TRAINED: dice(trained)}
    for how in possible(model.network):
        with altered(model.network, how, seed):
            found[how] = dice(predict(model, volume))
    maps = {level: weights for level, weights in trained.attention.items() if float(weights.std()) > SPREAD}
    similarities: dict[Stage, dict[int, float]] = {}
    for stage, stranger in strangers.items():
        others = predict(stranger, volume, attention=True).attention
        similarities[stage] = {level: similarity(weights, others[level]) for level, weights in maps.items()}
    deletion = None
    if maps:
        level = min(maps)
        blocks = at_random(volume.grid, _voxels_of(model, level, volume), seed)
        orders = order_by(maps[level], blocks), order_by(blocks, blocks)
        curves = [[dice(predict(model, without(volume, order, share))) for share in SHARES[1:]] for order in orders]
        deletion = Deletion(level, *([found[TRAINED], *curve] for curve in curves))
    cams = {}
    for index, name in enumerate(labels.names):
        cam = grad_cam(model, volume, index if labels.overlapping else index + 1)
        path = grad_cam_path(output, case.id, labels.painted[index])
        write_like(path, cam, volume)
        note_files(output, case.id, [path])
        (cams[name],) = (one.auc for one in focus_of(case.id, 0, cam, reference, labels) if one.class_name == name)
        done()
    return CaseChecks(case.id, found, similarities, deletion, cams)


def _voxels_of(model: Model, level: int, volume: Volume) -> Sequence[int]:
    """Size of the voxels of a level in voxels of a scan, along its own axes."""
    placement = place(volume.affine, volume.grid, model.plan.voxel_mm(level))
    along_ras = [max(round(step), 1) for step in placement.step]
    return [along_ras[placement.order.index(axis)] for axis in range(3)]
