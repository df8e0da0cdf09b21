"""Checks of attention on a scan that the network has not seen, each beside its control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels, read_label_of
from attention_unet.evaluation.structure_attention import attention_in_structures
from attention_unet.explanation.alteration import altered, possible, predict_with_maps, replaceable
from attention_unet.explanation.deletion import SHARES, at_random, nearness, order_by, without
from attention_unet.explanation.grad_cam import grad_cam
from attention_unet.explanation.randomisation import similarity
from attention_unet.explanation.template import Templates, from_templates, mean_of, to_templates
from attention_unet.files.prediction_folder import grad_cam_path
from attention_unet.inference.model import Model
from attention_unet.inference.output_folder import record_more_files
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.volumes import Volume, write_like
from attention_unet.training.validation import dice_by_class

OVERLAP = 0.25  # of windows: these are many predictions
FLAT = 2.0**-8  # standard deviation of weights over a scan; below this step of bfloat16 near 1, a map shows no place
# Conditions under which a case is predicted.
TRAINED, UNTRAINED, OWN_MAP, MEAN_MAP, OTHER_MAP = "as trained", "random weights", "own map", "mean map", "another case"
# Pairs of maps that are compared.
RANDOM, TWO_RANDOM, SECOND = "random weights", "two random networks", "second training"


@dataclass(frozen=True)
class Others:
    """What a case is compared with.

    Attributes:
        random: two models of the same architecture with random weights; none if the network has no attention.
        second: the same training with another seed, if there is one.
        templates: maps of all checked cases on the common grid.
    """

    random: Sequence[Model]
    second: Model | None
    templates: dict[str, Templates]


@dataclass(frozen=True)
class Deletion:
    """Mean Dice over the classes with the first of ``SHARES`` of a scan's voxels deleted, then the next, and so on.

    Attributes:
        level: whose weights give the order; the finest that has a map.
        by_attention: highest weights first.
        by_distance: what is deepest inside the model's own prediction first, then what is nearest to it.
        by_chance: blocks of that level's voxel size at random.
    """

    level: int
    by_attention: list[float]
    by_distance: list[float]
    by_chance: list[float]


@dataclass(frozen=True)
class CaseChecks:
    """What was found in a case.

    Attributes:
        case: its id.
        dice: mean over the classes, by condition.
        agreement: rank correlation of maps by pair and level; a level is left out where one of the maps is flat.
        deletion: None where no level has a map.
        grad_cam: by class how likely a voxel of it has a higher Grad-CAM than one of no class, as the AUC of attention.
        subject: the person; empty if the case is a person of its own.
    """

    case: str
    dice: dict[str, float]
    agreement: dict[str, dict[int, float]]
    deletion: Deletion | None
    grad_cam: dict[str, float]
    subject: str = ""


def steps_a_case(model: Model, others: Others) -> int:
    """How often ``check_case`` calls ``done``, at most."""
    deleting = 3 * len(SHARES[1:]) if possible(model.network) else 0
    maps = 3 * replaceable(model) + len(others.random) + (others.second is not None)
    return 1 + len(possible(model.network)) + maps + deleting + len(model.plan.labels.names)


def maps_of(model: Model, volume: Volume) -> dict[int, NDArray[np.float32]]:
    """Attention map of each attended level, on the grid of the volume."""
    return predict_volume([model], volume, Settings(overlap=OVERLAP, attention=True)).attention


def check_case(
    model: Model, others: Others, case: Case, output: Path, seed: int, done: Callable[[], None]
) -> CaseChecks:
    """Check a model on a case, and write Grad-CAM of each class beside its prediction.

    Args:
        model: trained.
        others: what it is compared with.
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
        settings = Settings(overlap=OVERLAP, attention=attention, keep_largest=())
        prediction = predict_volume([predictor], scan, settings)
        done()
        return prediction

    def dice(label_map: NDArray[np.generic]) -> float:
        values = [value for value in dice_by_class(label_map, reference, labels) if not np.isnan(value)]
        return float(np.mean(values)) if values else float("nan")

    trained = predict(model, volume, attention=True)
    found = {TRAINED: dice(trained.label_map)}
    for how in possible(model.network):
        with altered(model.network, how):
            found[how] = dice(predict(model, volume).label_map)
    maps = {level: weights for level, weights in trained.attention.items() if float(weights.std()) > FLAT}
    if maps and len(others.templates) > 1 and replaceable(model):
        for name, templates in _replacements(case.id, others.templates).items():
            replaced = from_templates(templates, volume)
            found[name] = dice(predict_with_maps(model, volume, replaced, OVERLAP))
            done()
    agreement: dict[str, dict[int, float]] = {}
    if maps:
        random = [predict(one, volume, attention=True) for one in others.random]
        found[UNTRAINED] = dice(random[0].label_map)
        agreement[RANDOM] = _agreement(maps, random[0].attention)
        agreement[TWO_RANDOM] = _agreement(random[1].attention, random[0].attention)
        if others.second:
            agreement[SECOND] = _agreement(maps, predict(others.second, volume, attention=True).attention)
        if len(others.templates) > 1:
            own, other = (others.templates[name] for name in (case.id, _next(case.id, others.templates)))
            agreement[OTHER_MAP] = {level: similarity(own[level].numpy(), other[level].numpy()) for level in maps}
    deletion = None
    if maps:
        level = min(maps)
        blocks = at_random(volume.grid, _voxels_of(model, level, volume), seed)
        near = nearness(trained.label_map, volume.spacing_mm)
        orders = [order_by(weights, blocks) for weights in (maps[level], near, blocks)]
        curves = [
            [found[TRAINED], *(dice(predict(model, without(volume, order, share)).label_map) for share in SHARES[1:])]
            for order in orders
        ]
        deletion = Deletion(level, *curves)
    return CaseChecks(case.id, found, agreement, deletion, _grad_cam(model, case.id, volume, reference, output, done))


def _replacements(case: str, templates: Mapping[str, Templates]) -> dict[str, Templates]:
    """Maps to predict a case with: its own, through the common grid as a control, the mean of the others, and one."""
    mean = mean_of([of for name, of in templates.items() if name != case])
    return {OWN_MAP: templates[case], MEAN_MAP: mean, OTHER_MAP: templates[_next(case, templates)]}


def _next(case: str, templates: Mapping[str, Templates]) -> str:
    names = list(templates)
    return names[(names.index(case) + 1) % len(names)]


def _agreement(one: Mapping[int, NDArray[np.float32]], other: Mapping[int, NDArray[np.float32]]) -> dict[int, float]:
    """Rank correlation of the maps of each level, without levels where one of them is flat."""
    return {
        level: similarity(one[level], other[level])
        for level in one
        if level in other and min(float(one[level].std()), float(other[level].std())) > FLAT
    }


def _grad_cam(
    model: Model, case: str, volume: Volume, reference: NDArray[np.int64], output: Path, done: Callable[[], None]
) -> dict[str, float]:
    """AUC of Grad-CAM of each class, whose maps are written."""
    labels, found = model.plan.labels, {}
    for index, name in enumerate(labels.names):
        cam = grad_cam(model, volume, index if labels.overlapping else index + 1)
        path = grad_cam_path(output, case, labels.painted[index])
        write_like(path, cam, volume)
        record_more_files(output, case, [path])
        (found[name],) = (
            one.auc for one in attention_in_structures(case, 0, cam, reference, labels) if one.class_name == name
        )
        done()
    return found


def _voxels_of(model: Model, level: int, volume: Volume) -> Sequence[int]:
    """Size of the voxels of a level in voxels of a scan, along its own axes."""
    scan_grid = fit_grid(volume.affine, volume.grid, model.plan.voxel_mm(level))
    along_ras = [max(round(step), 1) for step in scan_grid.step]
    return [along_ras[scan_grid.order.index(axis)] for axis in range(3)]


def templates_of(model: Model, case: Case) -> Templates:
    """Attention maps of a case on the common grid.

    Raises:
        DataError: if a file cannot be read.
    """
    volume = read_channels(case)
    return to_templates(maps_of(model, volume), volume)
