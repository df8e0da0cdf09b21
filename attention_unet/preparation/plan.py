"""The plan of a training: voxel size, patch and network. Prediction needs it, too."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from attention_unet.files.json_file import parse_object
from attention_unet.network.architecture import Architecture
from attention_unet.places import level_of
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.geometry import Grid, fit_grid
from attention_unet.scans.labels import Labels
from attention_unet.scans.orientation import Stack

AXES = ("left-right", "back-front", "down-up")  # of RAS+
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Plan:
    """Everything that prediction needs besides the weights; saved with the run as plain values."""

    channels: tuple[str, ...]  # names of the image channels, in order
    labels: Labels  # the classes
    preprocessing: Preprocessing  # settings that bring a volume to the network's grid
    largest_mm: tuple[float, float, float]  # largest extent along each RAS+ axis in the cases of the fingerprint
    patch: tuple[int, int, int]  # voxels of a patch or window along RAS+ axes
    slice_axis: int | None  # RAS+ axis across the slices of a 2-D network, where the patch has 1 voxel; None in 3-D
    mirror_axes: tuple[int, ...]  # RAS+ axes that training flips, so that test-time augmentation can flip them
    batch: int  # patches per training step, over all devices
    architecture: Architecture  # architecture of the network
    # Typical extent of the part of scans that a locator finds; None: the plan is for whole scans.
    region_mm: tuple[float, float, float] | None = None
    channels_may_miss: bool = False  # whether channels were dropped in training, so that scans may lack some

    @property
    def window(self) -> list[int]:
        """Voxels of a patch along the axes that the network sees."""
        return [edge for axis, edge in enumerate(self.patch) if axis != self.slice_axis]

    def voxel_mm(self, place: str, affine: NDArray[np.float64], grid: Grid) -> tuple[float, float, float]:
        """Return the voxel size in mm of a place of the network, such as "skip 1", along the array axes of a scan.

        ``affine`` is 4 x 4, from voxel (i, j, k) of the scan to RAS+ mm, and its grid (I, J, K).
        """
        scan_grid = fit_grid(affine, grid, self.preprocessing.spacing_mm, self.preprocessing.stack)
        steps = np.array(scan_grid.step)
        in_plane = np.arange(3) != self.slice_axis
        for stride in self.architecture.steps[: level_of(place, len(self.architecture.channels))]:
            steps[in_plane] *= stride
        size = np.linalg.norm(affine[:3, :3], axis=0)
        size[list(scan_grid.order)] *= steps
        return tuple(float(mm) for mm in size)  # type: ignore[return-value]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> "Plan":
        """Make a plan from the values of ``to_json``."""
        return cls(
            channels=tuple(map(str, plain["channels"])),
            labels=Labels.from_json(plain["labels"]),
            preprocessing=Preprocessing(
                _parse_triple(float, plain["preprocessing"]["spacing_mm"]),
                bool(plain["preprocessing"]["nonzero"]),
                Stack.from_json(plain["preprocessing"].get("stack")),
            ),
            largest_mm=_parse_triple(float, plain["largest_mm"]),
            patch=_parse_triple(int, plain["patch"]),
            slice_axis=None if plain["slice_axis"] is None else int(plain["slice_axis"]),
            mirror_axes=tuple(map(int, plain["mirror_axes"])),
            batch=int(plain["batch"]),
            architecture=Architecture(**plain["architecture"]),
            region_mm=_parse_triple(float, plain["region_mm"]) if plain.get("region_mm") else None,
            channels_may_miss=bool(plain.get("channels_may_miss", False)),
        )


def _parse_triple(kind: Callable[[Any], N], plain: Sequence[Any]) -> tuple[N, N, N]:
    """Parse three numbers above 0, one per axis."""
    i, j, k = (kind(value) for value in plain)
    if not min(i, j, k) > 0:
        raise ValueError(f"{plain}: expected numbers above 0")
    return i, j, k


def read_plan(file: Path) -> Plan:
    """Read the plan that a training wrote. Raise DataError if the file is missing or damaged."""
    return parse_object(file, Plan.from_json, "expected the plan that a training writes; copy it again")
