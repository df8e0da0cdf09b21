"""Measure cases."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.scans.foreground import find_background, foreground_box
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.orientation import Stack, find_stack, nearest_axes
from attention_unet.scans.volumes import Volume

QUANTILE_VOXELS = 2**20  # most voxels from which quantiles are taken


@dataclass(frozen=True)
class Extent:
    """Size and directions of one case."""

    affine: tuple[tuple[float, ...], ...]  # from voxels of the stored array to RAS+ mm, as 4 x 4 rows
    box: tuple[int, int, int]  # voxels of its foreground box along the axes of the array
    kept: float  # share of the volume that is in the box; 1 if no channel is 0 around it


def stack_of(extents: Sequence[Extent]) -> Stack | None:
    """Return how the thick slices of cases lie, however oblique; None if most cases have none."""
    return find_stack([np.array(extent.affine) for extent in extents])


def sizes_of(extents: Sequence[Extent], stack: Stack | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return sizes of cases along the axes of the network: voxels of the foreground boxes, and voxel sizes in mm.

    Both have a row per case, (N, 3).
    """
    grids, spacings_mm = [], []
    for extent in extents:
        affine = np.array(extent.affine)
        order = list(nearest_axes(affine, stack).order)
        grids.append(np.array(extent.box)[order])
        spacings_mm.append(np.linalg.norm(affine[:3, :3], axis=0)[order])
    return np.array(grids), np.array(spacings_mm)


@dataclass(frozen=True)
class CaseFacts:
    """Measurements of one case, and the warnings of its readers."""

    id: str  # case id
    extent: Extent  # its size and directions
    orientation: str  # stored axes, such as "LPS"
    quantiles: NDArray[np.float64]  # minimum, 1 %, median, 99 % and maximum of each channel (C, 5)
    volumes_ml: dict[str, float]  # volume of each class; 0 of classes that are not annotated
    shares: dict[str, float]  # share of the voxels that belong to each class
    digest: str  # sha256 of the values of the image along RAS+ axes
    label_digest: str  # sha256 of the values of the label along RAS+ axes
    annotated: float  # share of the voxels that is not ignored
    unannotated: tuple[str, ...]  # classes that the label map does not annotate
    lost: tuple[str, ...]  # classes of the label without a voxel on the network's grid
    cut_off: float  # share of the voxels of all classes outside of the foreground box
    warnings: tuple[str, ...]  # warnings of its readers

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
    box = find_box(image)
    labelled = mask_of(label.array[0], tuple({value for group in groups.values() for value in group}))
    step = -(-flat.shape[1] // QUANTILE_VOXELS)
    while math.gcd(step, flat.shape[1]) > 1:  # otherwise only some planes of the last axis are sampled
        step += 1
    middle = np.quantile(flat[:, ::step], [0.01, 0.5, 0.99], axis=1).T
    return CaseFacts(
        id=case.id,
        extent=measure_extent(image, box),
        orientation="".join(nib.aff2axcodes(image.affine)),
        quantiles=np.column_stack([flat.min(axis=1), middle, flat.max(axis=1)]).astype(np.float64),
        volumes_ml={name: count * image.voxel_ml for name, count in counts.items()},
        shares={name: count / label.array.size for name, count in counts.items()},
        digest=image_digest(label if case.synthetic and any(counts.values()) else image),
        label_digest=image_digest(label),
        annotated=1.0 if labels.ignore is None else float(np.mean(label.array != labels.ignore)),
        unannotated=case.unannotated,
        lost=tuple(name for name in lost if name not in case.unannotated),
        cut_off=1 - float(labelled[box].sum() / labelled.sum()) if labelled.any() else 0.0,
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


def measure_extent(volume: Volume, box: Sequence[slice] = ()) -> Extent:
    """Measure size and direction of an image. Its foreground box is computed if it is not given."""
    i, j, k = (edge.stop - edge.start for edge in box or find_box(volume))
    rows = tuple(tuple(map(float, row)) for row in volume.affine)
    zeros_around = bool((find_background(torch.from_numpy(volume.array)) == 0).any())
    return Extent(rows, (i, j, k), float(i * j * k / np.prod(volume.grid)) if zeros_around else 1.0)


def find_box(volume: Volume) -> tuple[slice, ...]:
    """Return the foreground box of an image."""
    image = torch.from_numpy(volume.array)
    return tuple(slice(start, stop) for start, stop in foreground_box(image, find_background(image)))
