"""What a case is like, and what of that a user should know before anything is trained on it."""

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

from attention_unet.errors import DataError
from attention_unet.scans.geometry import fit_grid, foreground_box
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume

FAR = 2.0  # times another voxel size than the median is worth a remark
SORTED = 2**20  # voxels that quantiles are taken of
SINGLY = 2  # messages of the same words that are told one by one


@dataclass(frozen=True)
class Extent:
    """Size of one case on RAS+ axes: voxels of its foreground box, their size, and its share of the volume."""

    grid: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    kept: float


@dataclass(frozen=True)
class CaseFacts:
    """What one case is like.

    Attributes:
        id: of the case.
        extent: its size on patient axes.
        orientation: of the stored axes, such as "LPS".
        quantiles: minimum, 1 %, median, 99 % and maximum of each channel (C, 5).
        volumes_ml: of each class.
        shares: of the voxels that are each class.
        digest: sha256 of the values of the image along RAS+ axes.
        label_digest: the same of its label.
        lost: classes of the label that have no voxel on the network's grid.
        told: what its readers warned of.
    """

    id: str
    extent: Extent
    orientation: str
    quantiles: NDArray[np.float64]
    volumes_ml: dict[str, float]
    shares: dict[str, float]
    digest: str
    label_digest: str
    lost: tuple[str, ...]
    told: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "quantiles": self.quantiles.tolist()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "CaseFacts":
        """Inverse of ``to_json``."""
        extent = Extent(**{name: _tuples(value) for name, value in plain["extent"].items()})
        texts = {name: tuple(plain[name]) for name in ("lost", "told")}
        others = {"extent": extent, "quantiles": np.array(plain["quantiles"]), **texts}
        return cls(**{**plain, **others})


def facts_of(
    case: str, image: Volume, label: Volume, labels: Labels, told: Iterable[str], lost: Iterable[str] = ()
) -> CaseFacts:
    """Look at one case.

    Args:
        case: its id.
        image: of it.
        label: on the same grid.
        labels: the classes.
        told: what reading it warned of.
        lost: classes without a voxel on the network's grid.
    """
    counts = {name: int(np.isin(label.array, group).sum()) for name, group in labels.integers.items()}
    flat = image.array.reshape(len(image.array), -1)
    middle = np.quantile(flat[:, :: -(-flat.shape[1] // SORTED)], [0.01, 0.5, 0.99], axis=1).T
    return CaseFacts(
        id=case,
        extent=extent_of(image),
        orientation="".join(nib.aff2axcodes(image.affine)),
        quantiles=np.column_stack([flat.min(axis=1), middle, flat.max(axis=1)]).astype(np.float64),
        volumes_ml={name: count * image.voxel_ml for name, count in counts.items()},
        shares={name: count / label.array.size for name, count in counts.items()},
        digest=image_digest(image),
        label_digest=image_digest(label),
        lost=tuple(lost),
        told=tuple(told),
    )


def image_digest(volume: Volume) -> str:
    """sha256 of the values of a volume along RAS+ axes, whatever the order and direction in which they are stored."""
    oriented = fit_grid(volume.affine, volume.grid, (1.0, 1.0, 1.0)).orient(volume.array)
    return hashlib.sha256(np.ascontiguousarray(oriented).data).hexdigest()


def warnings_about(facts: Sequence[CaseFacts], classes: Sequence[str]) -> list[str]:
    """What is odd about cases that can all be read: what their readers warned of, and how they compare."""
    remarks = [text for fact in facts for text in fact.told]
    for same in _copies(facts):
        remarks.append(f"the same image {len(same)} times: {', '.join(same)}: a copy may be trained on and held out")
    for fact in facts:
        constant = [i for i, (low, *_, high) in enumerate(fact.quantiles) if low == high]
        if constant:
            remarks.append(f"{fact.id}: channel {constant[0]} is the same everywhere: is it empty?")
        if min(fact.extent.grid) == 1:
            remarks.append(f"{fact.id}: is a single slice: taken as a volume of one")
        if fact.lost:
            text = "too small for the voxels of the plan"
            remarks.append(f"{fact.id}: {', '.join(fact.lost)} vanishes on the network's grid: {text}")
        if not any(fact.volumes_ml.values()):
            remarks.append(f"{fact.id}: no class is in it")
    if facts:
        spacings = np.array([fact.extent.spacing_mm for fact in facts])
        far = np.abs(np.log(spacings / np.median(spacings, axis=0))).max(axis=1) > np.log(FAR)
        for fact in (fact for fact, is_far in zip(facts, far, strict=True) if is_far):
            size = " x ".join(f"{s:.3g}" for s in fact.extent.spacing_mm)
            remarks.append(f"{fact.id}: voxels of {size} mm, far from those of the others: is its header right?")
    for name in classes:
        if facts and not any(fact.volumes_ml[name] for fact in facts):
            remarks.append(f"the class {name} is in no case")
    return remarks


def check_trainable(facts: Sequence[CaseFacts], held_out: Collection[str], classes: Sequence[str]) -> list[str]:
    """Check that cases can teach all classes, and that none of those held out is trained on under another name.

    Args:
        facts: of all cases.
        held_out: ids of those that are not trained on.
        classes: names of the classes.

    Returns:
        What is no error but worth a look.

    Raises:
        DataError: if they cannot, or one is.
    """
    problems, remarks = [], []
    for same in _copies(facts):
        sides = [[case for case in same if (case in held_out) == side] for side in (False, True)]
        if all(sides):
            problems.append(
                f"{sides[1][0]}: is held out, and the same image is trained on as {sides[0][0]}: its score would "
                "flatter; remove one of them"
            )
    for name in classes:
        having = [fact.id for fact in facts if fact.volumes_ml[name]]
        if not having:
            problems.append(f"the class {name} is in no case: take it out of dataset.json, or add cases that have it")
        elif not any(name not in fact.lost for fact in facts if fact.volumes_ml[name]):
            problems.append(
                f"the class {name} has no voxel on the network's grid in any case: set a smaller data.spacing_mm"
            )
        elif all(case in held_out for case in having):
            remarks.append(f"the class {name} is only in cases that are held out: it cannot be learned")
    if problems:
        raise DataError("\n".join(problems))
    return remarks


def shorten(messages: Sequence[str]) -> list[str]:
    """Messages, each "FILE: what is wrong", where many files have the same: once, with their number."""
    by_words: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        by_words[message.partition(": ")[2] or message].append(message)
    told = []
    for words, of in by_words.items():
        told += of if len(of) <= SINGLY else [f"{len(of)} times: {words} (the first: {of[0].partition(': ')[0]})"]
    return told


def _copies(facts: Sequence[CaseFacts]) -> list[list[str]]:
    """Ids of cases whose images are the same."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        by_digest[fact.digest].append(fact.id)
    return [same for same in by_digest.values() if len(same) > 1]


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def extent_of(volume: Volume) -> Extent:
    """Measure one image."""
    axes = nib.io_orientation(volume.affine)[:, 0].argsort()  # the file axis along each RAS+ axis
    edges = [stop - start for start, stop in foreground_box(torch.from_numpy(volume.array))]
    i, j, k = (int(axis) for axis in axes)
    return Extent(
        (edges[i], edges[j], edges[k]),
        (volume.spacing_mm[i], volume.spacing_mm[j], volume.spacing_mm[k]),
        float(np.prod(edges) / np.prod(volume.grid)),
    )
