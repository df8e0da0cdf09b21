"""Classes of a dataset and their integers in label maps. Classes are exclusive or overlapping."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FEW = 20  # integers
FOREGROUND = "(foreground)"  # name of all classes together
MEAN = "mean of classes"
RESERVED = (FOREGROUND, MEAN)  # names that classes must not have
IGNORED = 255  # value of ignored voxels in a target
LEAST_ANNOTATED = 0.01  # share of a voxel


@dataclass(frozen=True)
class Labels:
    """Foreground classes of a dataset.

    Attributes:
        integers: for each class, in order, the integers of a label map that belong to it. Classes that share integers
            overlap. The network then decides on each class independently.
        painted: for each class, its integer in a predicted label map. Overlapping classes are written in order, later
            classes over earlier ones (``regions_class_order``).
        ignore: integer of voxels that nobody annotated; None if all voxels are annotated.
    """

    integers: Mapping[str, tuple[int, ...]]
    painted: tuple[int, ...]
    ignore: int | None = None

    def __eq__(self, other: object) -> bool:
        """Return whether classes, integers and their order are equal: the network has its channels in this order."""
        return isinstance(other, Labels) and (list(self.integers.items()), self.painted) == (
            list(other.integers.items()),
            other.painted,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes in order, without the background."""
        return tuple(self.integers)

    @property
    def overlapping(self) -> bool:
        """Whether a voxel may belong to several classes."""
        integers = [i for group in self.integers.values() for i in group]
        return len(integers) != len(set(integers))

    @property
    def channels(self) -> int:
        """Number of channels of the logits: background and classes, or only the classes if they overlap."""
        return len(self.integers) + (0 if self.overlapping else 1)

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Smallest unsigned type for predicted label maps."""
        return next(kind for kind in (np.uint8, np.uint16, np.uint32) if max(self.painted) <= np.iinfo(kind).max)

    def unknown(self, label_map: NDArray[np.generic]) -> list[int]:
        """Return the integers of a label map that belong to no class, in ascending order."""
        known = {0, 0 if self.ignore is None else self.ignore}.union(*self.integers.values())
        return [int(label) for label in np.unique(label_map[~np.isin(label_map, sorted(known))])]

    def decode(self, target: NDArray[np.uint8 | np.bool_]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the label map (*S) of a target, as ``assign_classes`` returns it, in the smallest unsigned type."""
        if not self.overlapping:
            return np.array([0, *self.painted], dtype=self.dtype)[target[0]]
        label_map = np.zeros(target.shape[1:], dtype=self.dtype)
        for mask, value in zip(target, self.painted, strict=True):
            label_map[mask > 0] = value
        return label_map

    def index(self, label_map: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the class index of each voxel of a label map: 0 for background, the last of overlapping classes."""
        index = np.zeros(label_map.shape, dtype=np.uint8)
        for i, group in enumerate(self.integers.values(), start=1):
            index[mask_of(label_map, group)] = i
        return index

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        integers = {name: list(group) for name, group in self.integers.items()}
        ignore = {} if self.ignore is None else {"ignore": self.ignore}
        return {"integers": integers, "painted": list(self.painted), **ignore}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Labels":
        """Return the classes of ``to_json``. Raise ValueError, KeyError, TypeError or AttributeError if invalid."""
        integers = {str(name): tuple(map(int, group)) for name, group in plain["integers"].items()}
        painted = tuple(map(int, plain["painted"]))
        if not integers or len(painted) != len(integers) or min(*painted, *map(min, integers.values())) < 0:
            raise ValueError(
                f"classes are {integers}, painted {painted}: expected one or more classes, integers from 0"
            )
        return cls(integers, painted, None if plain.get("ignore") is None else int(plain["ignore"]))


def mask_of(label_map: NDArray[np.generic], integers: Sequence[int]) -> NDArray[np.bool_]:
    """Return where a label map, of any shape, has one of some integers."""
    if 0 < len(integers) < FEW:  # many times faster than np.isin
        return functools.reduce(np.logical_or, (label_map == value for value in integers))
    return np.isin(label_map, integers)


def assign_classes(shares: Iterable[Tensor], labels: Labels) -> Tensor:
    """Return a target in which each voxel belongs to the class with the largest share of this voxel.

    A voxel belongs to the background if the background has a larger share. Each overlapping class gets the voxels in
    which its share is above 0.5. Shares are (*S), 0 to 1, one after another in the order of the classes.

    Returns:
        Class indices (1, *S), 0 for background. If classes overlap: one mask per class, (classes, *S). Both are uint8.
    """
    if labels.overlapping:
        return torch.stack([share > 0.5 for share in shares]).to(torch.uint8)
    numbered = enumerate(shares, start=1)
    number, largest = next(numbered)
    index, total = torch.full(largest.shape, number, dtype=torch.uint8, device=largest.device), largest
    for number, share in numbered:
        index.masked_fill_(share > largest, number)
        largest, total = torch.maximum(largest, share), total + share
    return index.mul_(largest + total > 1)[None]  # largest > 1 - total, the share of the background


def assign_known_classes(shares: Iterable[Tensor], labels: Labels, annotated: Tensor, known: Tensor) -> Tensor:
    """Return a target as ``assign_classes`` does, of shares divided by the ``annotated`` share of each voxel (*S).

    Voxels outside of ``known`` (*S) are ignored: they become 255.
    """
    annotated = annotated.clamp(min=LEAST_ANNOTATED)
    target = assign_classes((share / annotated for share in shares), labels)
    return target.masked_fill_(~known, IGNORED)
