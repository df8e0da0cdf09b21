"""Measure cases, and warn about odd ones before a training."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.errors import DataError
from attention_unet.scans.foreground import find_background, foreground_box
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.orientation import Stack, find_stack, nearest_axes
from attention_unet.scans.volumes import Volume

RARE = 0.25  # share of the cases that a rare class is in
UNUSUAL_RATIO = 2.0  # of a voxel size to the median; beyond it a warning is given
QUANTILE_VOXELS = 2**20  # most voxels from which quantiles are taken
MAX_REPEATS = 2  # messages with the same words that are listed one by one


@dataclass(frozen=True)
class Extent:
    """Size and directions of one case.

    Attributes:
        affine: from voxels of the stored array to RAS+ mm, as 4 x 4 rows.
        box: voxels of its foreground box along the axes of the array.
        kept: share of the volume that is in the box.
    """

    affine: tuple[tuple[float, ...], ...]
    box: tuple[int, int, int]
    kept: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of cases along RAS+ axes, one row per case.

    Attributes:
        grids: voxels of the foreground boxes (N, 3).
        spacings_mm: voxel sizes (N, 3).
        stack: how their thick slices lie, however oblique; None if most have none.
    """

    grids: NDArray[np.int64]
    spacings_mm: NDArray[np.float64]
    stack: Stack | None


def sizes_of(extents: Sequence[Extent]) -> Sizes:
    """Return the sizes of cases."""
    affines = [np.array(extent.affine) for extent in extents]
    stack = find_stack(affines)
    orders = [list(nearest_axes(affine, stack)[0]) for affine in affines]
    return Sizes(
        np.array([np.array(extent.box)[order] for extent, order in zip(extents, orders, strict=True)]),
        np.array(
            [np.linalg.norm(affine[:3, :3], axis=0)[order] for affine, order in zip(affines, orders, strict=True)]
        ),
        stack,
    )


@dataclass(frozen=True)
class CaseFacts:
    """Measurements of one case, and the warnings of its readers.

    Attributes:
        id: case id.
        extent: its size and directions.
        orientation: stored axes, such as "LPS".
        quantiles: minimum, 1 %, median, 99 % and maximum of each channel (C, 5).
        volumes_ml: volume of each class; 0 of classes that are not annotated.
        shares: share of the voxels that belong to each class.
        digest: sha256 of the values of the image along RAS+ axes.
        label_digest: sha256 of the values of the label along RAS+ axes.
        annotated: share of the voxels that is not ignored.
        unannotated: classes that the label map does not annotate.
        lost: classes of the label without a voxel on the network's grid.
        warnings: warnings of its readers.
    """

    id: str
    extent: Extent
    orientation: str
    quantiles: NDArray[np.float64]
    volumes_ml: dict[str, float]
    shares: dict[str, float]
    digest: str
    label_digest: str
    annotated: float
    unannotated: tuple[str, ...]
    lost: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {**dataclasses.asdict(self), "quantiles": self.quantiles.tolist()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "CaseFacts":
        """Make facts from the values of ``to_json``."""
        size = plain["extent"]
        extent = Extent(tuple(map(tuple, size["affine"])), tuple(size["box"]), size["kept"])
        texts = {name: tuple(plain[name]) for name in ("unannotated", "lost", "warnings")}
        return cls(**{**plain, "extent": extent, "quantiles": np.array(plain["quantiles"]), **texts})


def measure_case(
    case: Case, image: Volume, label: Volume, labels: Labels, warnings: Iterable[str], lost: Iterable[str] = ()
) -> CaseFacts:
    """Measure one case."""
    groups = {name: () if name in case.unannotated else group for name, group in labels.integers.items()}
    counts = {name: int(mask_of(label.array, group).sum()) for name, group in groups.items()}
    flat = image.array.reshape(len(image.array), -1)
    middle = np.quantile(flat[:, :: -(-flat.shape[1] // QUANTILE_VOXELS)], [0.01, 0.5, 0.99], axis=1).T
    return CaseFacts(
        id=case.id,
        extent=measure_extent(image),
        orientation="".join(nib.aff2axcodes(image.affine)),
        quantiles=np.column_stack([flat.min(axis=1), middle, flat.max(axis=1)]).astype(np.float64),
        volumes_ml={name: count * image.voxel_ml for name, count in counts.items()},
        shares={name: count / label.array.size for name, count in counts.items()},
        digest=image_digest(label if case.drawn and any(counts.values()) else image),
        label_digest=image_digest(label),
        annotated=1.0 if labels.ignore is None else float(np.mean(label.array != labels.ignore)),
        unannotated=case.unannotated,
        lost=tuple(name for name in lost if name not in case.unannotated),
        warnings=(*warnings, *_unlisted(case, label, labels)),
    )


def _unlisted(case: Case, label: Volume, labels: Labels) -> list[str]:
    """Return a warning if a label map holds classes that its list of annotated classes does not name.

    Overlapping classes share integers, so that nobody can tell.
    """
    if labels.overlapping:
        return []
    there = [name for name in case.unannotated if mask_of(label.array, labels.integers[name]).any()]
    text = f"{case.id}: holds {', '.join(there)}, which its list in dataset.json does not name: counted as background"
    return [text] if there else []


def image_digest(volume: Volume) -> str:
    """Return the sha256 of the values of a volume along RAS+ axes. It does not depend on the stored axis order."""
    oriented = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0)).orient(volume.array)
    return hashlib.sha256(np.ascontiguousarray(oriented).data).hexdigest()


def warnings_about(facts: Sequence[CaseFacts], classes: Sequence[str]) -> list[str]:
    """Return warnings about readable cases: those of their readers, and those from comparing the cases."""
    warnings = [text for fact in facts for text in fact.warnings]
    for same in _find_copies(facts):
        warnings.append(f"the same image {len(same)} times: {', '.join(same)}: a copy may be trained on and held out")
    for fact in facts:
        constant = [i for i, (low, *_, high) in enumerate(fact.quantiles) if low == high]
        if constant:
            warnings.append(f"{fact.id}: channel {constant[0]} has the same value everywhere: is it empty?")
        if min(fact.extent.box) == 1:
            warnings.append(f"{fact.id}: is a single slice: treated as a volume of one slice")
        if fact.lost:
            lost = ", ".join(fact.lost)
            warnings.append(f"{fact.id}: {lost} vanishes on the network's grid: too small for the voxels of the plan")
        if not fact.annotated:
            warnings.append(f"{fact.id}: all voxels are ignored: it is not trained on")
        elif not any(fact.volumes_ml.values()):
            warnings.append(f"{fact.id}: no class is in its label map")
    if facts:
        spacings = sizes_of([fact.extent for fact in facts]).spacings_mm
        log_ratios = np.abs(np.log(spacings / np.median(spacings, axis=0))).max(axis=1)
        for fact, spacing_mm, log_ratio in zip(facts, spacings, log_ratios, strict=True):
            if log_ratio > np.log(UNUSUAL_RATIO):
                size = " x ".join(f"{s:.3g}" for s in spacing_mm)
                warnings.append(f"{fact.id}: voxels of {size} mm, unlike other cases: is its header right?")
    partly = [fact for fact in facts if 0 < fact.annotated < 1]
    if partly and all(sum(fact.shares.values()) >= fact.annotated - 1e-9 for fact in partly):
        warnings.append("no annotated voxel is background, so that nothing shows where structures end: annotate some")
    for name in classes:
        annotating = [fact for fact in facts if name not in fact.unannotated and fact.annotated]
        present = sum(fact.volumes_ml[name] > 0 for fact in annotating)
        if facts and not present:
            warnings.append(f"the class {name} is in no case")
        elif present < RARE * len(annotating):
            warnings.append(
                f"the class {name} is in only {present} of {len(annotating)} cases; with data.balance_classes, patches "
                "are centred on it as often as on the others"
            )
    return warnings


def check_trainable(facts: Sequence[CaseFacts], held_out: Collection[str], classes: Sequence[str]) -> list[str]:
    """Check that every class can be learned, and that no held-out image is trained on under another id.

    Returns:
        Warnings.

    Raises:
        DataError: if a class cannot be learned, or a held-out image is trained on.
    """
    problems, warnings = [], []
    for same in _find_copies(facts):
        sides = [[case for case in same if (case in held_out) == side] for side in (False, True)]
        if all(sides):
            problems.append(
                f"{sides[1][0]}: is held out, and the same image is trained on as {sides[0][0]}: its score would "
                "be too high; remove one of them"
            )
    for name in classes:
        examples = [fact for fact in facts if fact.volumes_ml[name]]
        if facts and all(name in fact.unannotated for fact in facts):
            problems.append(
                f"the class {name} is annotated in no case: add it to the lists in dataset.json, or remove it"
            )
        elif not examples:
            problems.append(f"the class {name} is in no case: take it out of dataset.json, or add cases that have it")
        elif all(name in fact.lost for fact in examples):
            problems.append(
                f"the class {name} has no voxel on the network's grid in any case: set a smaller data.spacing_mm"
            )
        elif all(fact.id in held_out for fact in examples):
            warnings.append(f"the class {name} is only in cases that are held out: it cannot be learned")
    if problems:
        raise DataError("\n".join(problems))
    return warnings


def shorten(messages: Sequence[str]) -> list[str]:
    """Return messages of the form "FILE: TEXT", with a text that many files share listed once, with their number."""
    by_words: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        by_words[message.partition(": ")[2] or message].append(message)
    short = []
    for words, same in by_words.items():
        file = same[0].partition(": ")[0]
        short += same if len(same) <= MAX_REPEATS else [f"{len(same)} times: {words} (the first: {file})"]
    return short


def _find_copies(facts: Sequence[CaseFacts]) -> list[list[str]]:
    """Return groups of ids of cases with the same image; images with one value are no copies but empty."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if any(low != high for low, *_, high in fact.quantiles):
            by_digest[fact.digest].append(fact.id)
    return [same for same in by_digest.values() if len(same) > 1]


def measure_extent(volume: Volume) -> Extent:
    """Measure the foreground box of an image."""
    image = torch.from_numpy(volume.array)
    i, j, k = (stop - start for start, stop in foreground_box(image, find_background(image)))
    rows = tuple(tuple(map(float, row)) for row in volume.affine)
    return Extent(rows, (i, j, k), float(i * j * k / np.prod(volume.grid)))
