"""Plan a training from its data: common voxel size, patch, levels, strides and kernels.

The rules for anisotropic volumes are those of Isensee et al., "nnU-Net", Nature Methods 2021: an axis is not divided
and not convolved across while its voxels are more than twice as large as the smallest.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset
from attention_unet.errors import ConfigError, DataError
from attention_unet.files.json_file import read_object
from attention_unet.machine.devices import Machine
from attention_unet.preparation.fingerprint import Fingerprint
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.preparation.sizing import choose_batch, choose_size
from attention_unet.scans.labels import Labels

PLANNED = ("data.spacing_mm", "data.patch", "network.base_channels", "training.batch")  # unless a configuration says
AXES = ("left-right", "back-front", "down-up")  # of RAS+
ANISOTROPIC = 3.0  # a dataset is anisotropic if one axis has voxels this many times larger than the others
N = TypeVar("N", int, float)
SMALLEST_EDGE = 4  # voxels that a level keeps at least along an axis


@dataclass(frozen=True)
class Plan:
    """All that prediction needs to know beside the weights; saved with the run as plain values.

    Attributes:
        channels: names of the image channels, in order.
        labels: the classes.
        preprocessing: how a volume is brought to the network's grid.
        largest_mm: largest extent of a case along each RAS+ axis, of those that the fingerprint read.
        patch: voxels of a patch or window along RAS+ axes.
        slice_axis: the RAS+ axis that a 2-D network does not see, along which its patch has 1 voxel; None in 3-D.
        mirror_axes: RAS+ axes along which training mirrors, so that prediction may, too.
        batch: patches a step of the training, over all devices.
        architecture: arguments of AttentionUNet.
    """

    channels: tuple[str, ...]
    labels: Labels
    preprocessing: Preprocessing
    largest_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    slice_axis: int | None
    mirror_axes: tuple[int, ...]
    batch: int
    architecture: dict[str, Any]

    def voxel_mm(self, level: int) -> tuple[float, float, float]:
        """Size of the voxels of a level of the network along RAS+ axes; level 0 is the finest."""
        size = np.array(self.preprocessing.spacing_mm)
        seen = np.arange(3) != self.slice_axis
        for stride in self.architecture["strides"][:level]:
            size[seen] *= stride
        return tuple(float(mm) for mm in size)  # type: ignore[return-value]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "channels": list(self.channels),
            "labels": self.labels.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "largest_mm": list(self.largest_mm),
            "patch": list(self.patch),
            "slice_axis": self.slice_axis,
            "mirror_axes": list(self.mirror_axes),
            "batch": self.batch,
            "architecture": self.architecture,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Plan":
        """Inverse of ``to_json``."""
        return cls(
            channels=tuple(map(str, plain["channels"])),
            labels=Labels.from_json(plain["labels"]),
            preprocessing=Preprocessing.from_json(plain["preprocessing"]),
            largest_mm=_three(float, plain["largest_mm"]),
            patch=_three(int, plain["patch"]),
            slice_axis=None if plain["slice_axis"] is None else int(plain["slice_axis"]),
            mirror_axes=tuple(map(int, plain["mirror_axes"])),
            batch=int(plain["batch"]),
            architecture=dict(plain["architecture"]),
        )


def _three(kind: Callable[[Any], N], plain: Sequence[Any]) -> tuple[N, N, N]:
    """Numbers above 0, one an axis."""
    i, j, k = (kind(value) for value in plain)
    if not min(i, j, k) > 0:
        raise ValueError(f"{plain}: expected numbers above 0")
    return i, j, k


def read_plan(file: Path) -> Plan:
    """Read what a training wrote.

    Raises:
        DataError: if the file holds no plan.
    """
    plain = read_object(file)
    try:
        return Plan.from_json(plain)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{file}: holds no plan ({error!r}): expected what a training writes; copy it again") from error


def fill_from_plan(config: Config, plan: Plan) -> Config:
    """Fill what a configuration leaves open with what was planned: it then gives the same plan on any machine."""
    data, network, training = config.data, config.network, config.training
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            data,
            spacing_mm=data.spacing_mm or list(plan.preprocessing.spacing_mm),
            patch=data.patch or list(plan.patch),
        ),
        network=dataclasses.replace(
            network, base_channels=network.base_channels or int(plan.architecture["channels"][0])
        ),
        training=dataclasses.replace(training, batch=training.batch or plan.batch),
    )


def make_plan(config: Config, dataset: Dataset, fingerprint: Fingerprint, machine: Machine) -> Plan:
    """Decide all that the configuration leaves open."""
    chosen = choose_size(config, machine)
    spacing = np.array(config.data.spacing_mm or target_spacing(fingerprint))
    dims = config.network.dims
    extents_mm = fingerprint.grids * fingerprint.spacings_mm
    grid = np.median(extents_mm, axis=0) / spacing
    slice_axis = choose_slice_axis(config.data.patch, grid, spacing) if dims == 2 else None
    in_plane = np.arange(3) != slice_axis
    size = np.array(config.data.patch or fit_patch(grid, spacing, in_plane, chosen.patch_voxels))
    strides, kernels = plan_levels(size[in_plane], spacing[in_plane], config.network.max_levels)
    if not config.data.patch:
        divisor = np.prod(strides, axis=0)
        size[in_plane] = np.ceil(size[in_plane] / divisor).astype(int) * divisor
    size[~in_plane] = 1
    network = config.network
    return Plan(
        channels=dataset.channels,
        labels=dataset.labels,
        preprocessing=Preprocessing(
            spacing_mm=tuple(float(round(s, 6)) for s in spacing),  # type: ignore[arg-type]
            nonzero=bool(np.median(fingerprint.kept) < 0.75),
        ),
        largest_mm=tuple(float(round(e, 1)) for e in extents_mm.max(axis=0)),  # type: ignore[arg-type]
        patch=tuple(int(s) for s in size),  # type: ignore[arg-type]
        slice_axis=slice_axis,
        mirror_axes=tuple(
            axis for axis, name in enumerate(AXES) if name in config.augmentation.flip_axes and axis != slice_axis
        ),
        batch=choose_batch(config, machine, int(np.prod(size))),
        architecture={
            "dims": dims,
            "in_channels": len(dataset.channels),
            "out_channels": dataset.labels.channels,
            "channels": [min(chosen.base_channels * 2**i, network.max_channels) for i in range(len(kernels))],
            "strides": strides,
            "kernels": kernels,
            "block": network.block,
            "convs": network.convs,
            "decoder_convs": network.decoder_convs,
            "deep_supervision": network.deep_supervision,
            **dataclasses.asdict(config.attention),
        },
    )


def choose_slice_axis(patch: list[int] | None, grid: np.ndarray, spacing: np.ndarray) -> int:
    """The axis across the slices of a 2-D network: the one along which a given patch has 1 voxel, else one along which
    cases have no more than that, else that of the largest voxels; of equal ones the last, which gives axial slices.

    Raises:
        ConfigError: if a given patch names no such axis, or several.
    """
    if patch is None:
        return 2 - int(np.where(grid < 1.5, np.inf, spacing)[::-1].argmax())
    if patch.count(1) != 1:
        raise ConfigError(f"data.patch is {patch}: a 2-D network needs exactly one 1 in it, across its slices")
    return patch.index(1)


def target_spacing(fingerprint: Fingerprint) -> list[float]:
    """Median voxel size; along a much coarser axis of few voxels the finest tenth: thin slices are not blurred."""
    spacing = np.median(fingerprint.spacings_mm, axis=0)
    grid = np.median(fingerprint.grids, axis=0)
    worst = int(spacing.argmax())
    others = [axis for axis in range(3) if axis != worst]
    if spacing[worst] > ANISOTROPIC * spacing[others].max() and grid[worst] * 3 < grid[others].min():
        finest_tenth = float(np.percentile(fingerprint.spacings_mm[:, worst], 10))
        spacing[worst] = max(finest_tenth, float(spacing[others].max()) + 1e-5)
    return [float(s) for s in spacing]


def fit_patch(grid: np.ndarray, spacing: np.ndarray, in_plane: np.ndarray, voxels: int) -> list[int]:
    """Largest patch of about equal edges in mm that is no larger than a typical case and has at most ``voxels``."""
    low, high = 0.0, float((grid * spacing).max())
    for _ in range(40):
        edge_mm = (low + high) / 2
        size = np.minimum(grid, edge_mm / spacing)
        low, high = (edge_mm, high) if np.prod(size[in_plane]) <= voxels else (low, edge_mm)
    edges = [max(int(np.round(s)), 1) for s in np.minimum(grid, high / spacing)]
    return [SMALLEST_EDGE if edge == 2 else edge for edge in edges]  # oneDNN: see plan_levels


def plan_levels(size: np.ndarray, spacing: np.ndarray, max_levels: int) -> tuple[list[list[int]], list[list[int]]]:
    """Strides between levels and kernels of levels for a patch.

    An axis is halved while at least four voxels remain and its voxels are not twice as large as the smallest of those
    that can still be halved; its kernel is 1 until its voxels are within twice the smallest, then 3 for good. No level
    has 2 voxels along an axis: in bfloat16 on a CPU, gradients of such convolutions are wrong (oneDNN, torch 2.13).

    Args:
        size: voxels of the patch an axis.
        spacing: voxel size an axis, mm.
        max_levels: the most levels there may be.
    """
    size, spacing = size.astype(float), spacing.astype(float)
    strides: list[list[int]] = []
    kernels: list[list[int]] = []
    mixed = np.zeros(len(size), dtype=bool)  # axes whose voxels are small enough to be convolved across
    while True:
        mixed |= spacing < 2 * spacing.min()
        kernels.append([3 if m and s > 1 else 1 for m, s in zip(mixed, size, strict=True)])
        large = size >= 2 * SMALLEST_EDGE
        if len(kernels) == max_levels or not large.any():
            break
        halve = large & (spacing < 2 * spacing[large].min())
        strides.append([2 if h else 1 for h in halve])
        size, spacing = np.ceil(size / strides[-1]), spacing * strides[-1]
    if not strides:  # the smallest of patches get two levels of one size
        strides.append([1] * len(size))
        kernels.append(kernels[0])
    return strides, kernels
