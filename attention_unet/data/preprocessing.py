"""Bring a volume to the network's grid: RAS+ orientation, common voxel size, foreground box, z-score a channel.

The affine of the prepared grid is kept, so that whatever lies on it can be put back on the scan's own grid.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, NormalizeIntensityd, Orientationd, Spacingd
from numpy.typing import NDArray
from torch import Tensor

from attention_unet.data.cases import Case
from attention_unet.data.volumes import Volume, check_same_grid, read_labels, read_volume
from attention_unet.errors import DataError


@dataclass(frozen=True)
class Preprocessing:
    """What is decided once for all volumes.

    Attributes:
        spacing_mm: voxel size of the prepared grid along RAS+ axes.
        nonzero: take mean and standard deviation over nonzero voxels only (skull-stripped or masked images).
    """

    spacing_mm: tuple[float, float, float]
    nonzero: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"spacing_mm": list(self.spacing_mm), "nonzero": self.nonzero}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Preprocessing":
        """Inverse of ``to_json``."""
        return cls(tuple(plain["spacing_mm"]), bool(plain["nonzero"]))


@dataclass(frozen=True)
class Prepared:
    """A case on the network's grid.

    Attributes:
        image: (C, *S) float32, mean 0 and standard deviation 1 a channel.
        label: integers as in the label file (1, *S); (0, *S) if there is no label.
        affine: 4 x 4, from voxels of this grid to RAS+ millimetres.
    """

    image: Tensor
    label: Tensor
    affine: NDArray[np.float64]


def read_channels(case: Case) -> Volume:
    """Read the image of a case; files of single channels are stacked in order.

    Raises:
        DataError: if a file is damaged or the channels lie on different grids.
    """
    volumes = [read_volume(path) for path in case.images]
    for other in volumes[1:]:
        check_same_grid(other, volumes[0])
    first = volumes[0]
    return Volume(first.path, np.concatenate([v.array for v in volumes]), first.affine, first.header)


def read_label_of(case: Case, image: Volume) -> Volume:
    """Read the label of a case and check that it lies on the image.

    Raises:
        DataError: if there is none, it is damaged, or it lies elsewhere.
    """
    if case.label is None:
        raise DataError(f"{image.path}: has no label: expected one to train on or to score against")
    label = read_labels(case.label)
    check_same_grid(label, image)
    return label


def prepare(image: Volume, label: Volume | None, preprocessing: Preprocessing) -> Prepared:
    """Bring an image, and its label by nearest voxels, to the network's grid.

    Raises:
        DataError: if the volume is too small to be resampled.
    """
    item = {"image": _with_affine(image)}
    if label is not None:
        item["label"] = _with_affine(label)
    keys = list(item)
    steps = Compose(
        [
            Orientationd(keys, axcodes="RAS", labels=None),
            Spacingd(
                keys,
                pixdim=preprocessing.spacing_mm,
                mode=["bilinear", "nearest"][: len(keys)],
                padding_mode="border",
                align_corners=True,
            ),
            CropForegroundd(keys, source_key="image", select_fn=above_minimum, allow_smaller=True),
            NormalizeIntensityd("image", nonzero=preprocessing.nonzero, channel_wise=True),
        ]
    )
    done = steps(item)
    prepared = done["image"]
    if min(prepared.shape) < 1:
        raise DataError(f"{image.path}: nothing is left of {image.grid} voxels at {preprocessing.spacing_mm} mm")
    return Prepared(
        image=prepared.as_tensor().contiguous(),
        label=done["label"].as_tensor() if label is not None else torch.empty(0, *prepared.shape[1:]),
        affine=prepared.affine.numpy(),
    )


def above_minimum(image: Tensor) -> Tensor:
    """Mask of the foreground (C, *S): whatever is brighter than the darkest voxel; all of a constant image."""
    mask = image > image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)
    return mask if mask.any() else torch.ones_like(mask)


def foreground_box(array: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Bounds (start, stop) of the foreground along each spatial axis of (C, *S)."""
    mask = above_minimum(torch.from_numpy(array)).any(dim=0).numpy()
    bounds = []
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        bounds.append((int(occupied[0]), int(occupied[-1]) + 1))
    return bounds


def _with_affine(volume: Volume) -> MetaTensor:
    return MetaTensor(torch.from_numpy(volume.array.copy()), affine=torch.from_numpy(volume.affine))
