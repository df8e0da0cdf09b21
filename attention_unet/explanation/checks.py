"""Check the attention of a model on a scan that it was not trained on, each check beside its control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.evaluation.structure_attention import attention_in_structures, mark_unpredicted
from attention_unet.explanation.ablation import ablated, has_replaceable_maps, possible_ablations, predict_with_maps
from attention_unet.explanation.common_grid import CommonMaps, from_common_grid, mean_maps, to_common_grid
from attention_unet.explanation.deletion_curve import SHARES, delete_voxels, random_blocks, rank_voxels, signed_distance
from attention_unet.explanation.grad_cam import grad_cams
from attention_unet.explanation.randomisation_test import rank_correlation
from attention_unet.files.prediction_folder import grad_cam_path
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import Prediction, predict_volume
from attention_unet.inference.record import add_files
from attention_unet.inference.settings import Settings
from attention_unet.scans.volumes import Volume, write_like
from attention_unet.training.validation import dice_by_class

OVERLAP = 0.25  # of windows; small, because there are many predictions
FLAT = 2.0**-8  # a map is flat if the standard deviation of its weights is below this, the step of bfloat16 near 1
# Conditions under which a case is predicted.
TRAINED, UNTRAINED, OWN_MAP, MEAN_MAP, OTHER_MAP = "as trained", "random weights", "own map", "mean map", "another case"
WITHOUT = "without "  # before the name of a missing channel
# Pairs of maps that are compared.
RANDOM, TWO_RANDOM, SECOND = "random weights", "two random networks", "second training"


@dataclass(frozen=True)
class Controls:
    """Models and maps that a case is compared with."""

    random: Sequence[Model]  # two of the same architecture with random weights; empty if the network has no attention
    second: Model | None  # of the same training with another seed; None if there is none
    maps: dict[str, CommonMaps]  # of all checked cases
    subjects: Mapping[str, str] = field(default_factory=dict)  # by case; a case without one is a person itself

    def maps_of_others(self, case: str) -> list[CommonMaps]:
        """Return the maps of other persons than that of a case, those of the next case in the list first."""
        names = list(self.maps)
        next_one = names.index(case) + 1 if case in self.maps else 0
        person = self.subjects.get(case) or case
        around = names[next_one:] + names[:next_one]
        return [self.maps[name] for name in around if (self.subjects.get(name) or name) != person]


@dataclass(frozen=True)
class DeletionCurves:
    """Mean Dice over the classes for each of ``SHARES`` of deleted voxels, by the order of deletion."""

    place: str  # of the attention map, the first that is not flat in this case
    by_attention: list[float]  # voxels with the highest weights first
    by_distance: list[float]  # voxels deepest inside the model's own prediction first, then those nearest to it
    by_chance: list[float]  # random blocks of the voxel size of the place


@dataclass(frozen=True)
class CaseChecks:
    """Results of the checks of a case."""

    case: str
    dice: dict[str, float]  # mean over the classes, by condition
    agreement: dict[str, dict[str, float]]  # rank correlation of maps by pair and place, unless one is flat
    deletion: DeletionCurves | None  # None if all maps are flat
    grad_cam: dict[str, float]  # AUC by class: probability that a voxel of it has a higher value than one of no class
    subject: str = ""  # the person; empty if each case is a person


def count_steps(model: Model, controls: Controls) -> int:
    """Return how often ``check_case`` calls ``done``, at most."""
    ablations = possible_ablations(model.network)
    deletions = 3 * len(SHARES[1:]) if ablations else 0
    maps = 3 * has_replaceable_maps(model) + len(controls.random) + (controls.second is not None)
    channels = len(model.plan.channels) if len(model.plan.channels) > 1 else 0
    return 1 + len(ablations) + channels + maps + deletions + len(model.plan.labels.names)


def _predict(model: Model, volume: Volume, attention: bool) -> Prediction:
    """Predict with all components, and attention marked where no window was predicted."""
    # The part of the scan is what a locator finds, whatever the mask; an altered scan is searched anew.
    settings = Settings(overlap=OVERLAP, whole_scan=False, attention=attention, drop_small=())
    prediction = predict_volume([model], volume, settings)
    return replace(prediction, attention={n: mark_unpredicted(each) for n, each in prediction.attention.items()})


def check_case(
    model: Model, controls: Controls, case: Case, output: Path, seed: int, done: Callable[[], None]
) -> CaseChecks:
    """Check a model on a case, and write Grad-CAM of each class beside the prediction of the case.

    Raise DataError if a file cannot be read or written.
    """
    volume = read_channels(case)
    scan = _Scan(model, case, volume, read_case_label(case, volume).array[0].astype(np.int64), done)
    trained = scan.predict(attention=True)
    maps = {place: weights for place, weights in trained.attention.items() if _varies(weights)}
    others = controls.maps_of_others(case.id)
    scores = {TRAINED: scan.dice(trained.label_map), **_without_parts(scan)}
    if maps and others and has_replaceable_maps(model):
        scores |= _with_maps_of_others(scan, controls.maps[case.id], others)
    agreement: dict[str, dict[str, float]] = {}
    deletion = None
    if maps:
        random = [scan.predict(control, attention=True) for control in controls.random]
        scores[UNTRAINED] = scan.dice(random[0].label_map)
        agreement[RANDOM] = _correlate(maps, random[0].attention)
        agreement[TWO_RANDOM] = _correlate(random[1].attention, random[0].attention)
        if controls.second:
            agreement[SECOND] = _correlate(maps, scan.predict(controls.second, attention=True).attention)
        if others:
            pair = (controls.maps[case.id], others[0])
            arrays = [{place: weights.numpy() for place, weights in each.items()} for each in pair]
            agreement[OTHER_MAP] = _correlate(*arrays)
        deletion = _delete(scan, trained, *next(iter(maps.items())), seed)
    auc = _write_grad_cam(scan, output)
    return CaseChecks(case.id, scores, agreement, deletion, auc, controls.subjects.get(case.id, ""))


@dataclass(frozen=True)
class _Scan:
    """A scan that is predicted under several conditions, with its reference (I, J, K)."""

    model: Model
    case: Case
    volume: Volume
    reference: NDArray[np.int64]
    done: Callable[[], None]

    def predict(self, model: Model | None = None, volume: Volume | None = None, attention: bool = False) -> Prediction:
        """Predict the scan, or an altered volume, with the model or a control."""
        prediction = _predict(model or self.model, volume or self.volume, attention)
        self.done()
        return prediction

    def dice(self, label_map: NDArray[np.generic]) -> float:
        """Return the mean over the classes that have a Dice; NaN if none has."""
        scores = dice_by_class(label_map, self.reference, self.model.plan.labels, self.case.unannotated)
        values = [value for value in scores if not np.isnan(value)]
        return float(np.mean(values)) if values else float("nan")


def _without_parts(scan: _Scan) -> dict[str, float]:
    """Return Dice without attention, and without each of several channels."""
    scores: dict[str, float] = {}
    channels = scan.model.plan.channels
    for ablation in possible_ablations(scan.model.network):
        with ablated(scan.model.network, ablation):
            scores[ablation] = scan.dice(scan.predict().label_map)
    for number, name in enumerate(channels if len(channels) > 1 else ()):
        scores[WITHOUT + name] = scan.dice(scan.predict(volume=scan.volume.without_channels([number])).label_map)
    return scores


def _with_maps_of_others(scan: _Scan, own: CommonMaps, others: Sequence[CommonMaps]) -> dict[str, float]:
    """Return Dice with the scan's own map, resampled as the others are, and with those of other cases in its place."""
    scores: dict[str, float] = {}
    for name, replacement in {OWN_MAP: own, MEAN_MAP: mean_maps(others), OTHER_MAP: others[0]}.items():
        on_scan = from_common_grid(replacement, scan.volume, scan.model.plan.preprocessing.stack)
        scores[name] = scan.dice(predict_with_maps(scan.model, scan.volume, on_scan, OVERLAP))
        scan.done()
    return scores


def _delete(scan: _Scan, trained: Prediction, place: str, weights: NDArray[np.float32], seed: int) -> DeletionCurves:
    """Delete voxels in three orders, and predict the scan without them."""
    blocks = random_blocks(scan.volume.grid, _voxel_size(scan.model, place, scan.volume), seed)
    distance, unpredicted = signed_distance(trained.label_map, scan.volume.spacing_mm), np.isnan(weights)
    undamaged, curves = scan.dice(trained.label_map), []
    for each in (weights, distance, blocks):
        order = rank_voxels(np.where(unpredicted, np.nan, each), blocks)
        volumes = (delete_voxels(scan.volume, order, share) for share in SHARES[1:])
        curves.append([undamaged, *(scan.dice(scan.predict(volume=volume).label_map) for volume in volumes)])
    return DeletionCurves(place, *curves)


def _correlate(one: Mapping[str, NDArray[np.float32]], other: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    """Return the rank correlation of the maps of each place, without places where one map is flat."""
    return {
        place: rank_correlation(one[place], other[place])
        for place in one
        if place in other and _varies(one[place]) and _varies(other[place])
    }


def _varies(weights: NDArray[np.float32]) -> bool:
    known = weights[~np.isnan(weights)]
    return known.size > 0 and float(known.std()) > FLAT


def _write_grad_cam(scan: _Scan, output: Path) -> dict[str, float]:
    """Write the Grad-CAM of each class; return its AUC by class."""
    labels, case, auc = scan.model.plan.labels, scan.case.id, {}
    for name, integer, cam in zip(labels.names, labels.painted, grad_cams(scan.model, scan.volume), strict=True):
        path = grad_cam_path(output, case, integer)
        write_like(path, np.nan_to_num(cam), scan.volume)
        add_files(output, case, [path])
        rows = attention_in_structures(case, "", cam, scan.reference, labels)
        (auc[name],) = (row.auc for row in rows if row.class_name == name)
        scan.done()
    return auc


def _voxel_size(model: Model, place: str, volume: Volume) -> list[int]:
    """Return the size of a voxel of a place in voxels of a scan, along the axes of the scan."""
    size_mm = model.plan.voxel_mm(place, volume.affine, volume.grid)
    return [max(round(mm / own), 1) for mm, own in zip(size_mm, volume.spacing_mm, strict=True)]


def predict_common_maps(model: Model, case: Case) -> CommonMaps:
    """Return the attention maps of a case on the common grid. Raise DataError if a file cannot be read."""
    volume = read_channels(case)
    maps = _predict(model, volume, attention=True).attention
    return to_common_grid(maps, volume, model.plan.preprocessing.stack)
