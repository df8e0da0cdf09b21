"""Classes of a dataset and how they are written in label files: integers, exclusive or overlapping."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FOREGROUND = "(foreground)"  # all classes as one, in the place of a class
MEAN = "mean of classes"
RESERVED = (FOREGROUND, MEAN)  # names that no class may have


@dataclass(frozen=True)
class Labels:
    """Foreground classes by name.

    Attributes:
        integers: for each class, in order, the integers of the label file that belong to it. Classes that share
            integers overlap: the network then decides on each class by itself.
        painted: for each class the integer that marks it in a predicted label map. Overlapping classes are painted in
            order, later ones over earlier ones.
    """

    integers: Mapping[str, tuple[int, ...]]
    painted: tuple[int, ...]

    def __eq__(self, other: object) -> bool:
        """Whether all is the same, the order of the classes included: it is that of the network's channels."""
        return isinstance(other, Labels) and (list(self.integers.items()), self.painted) == (
            list(other.integers.items()),
            other.painted,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in order, without the background."""
        return tuple(self.integers)

    @property
    def overlapping(self) -> bool:
        """Whether some voxel may belong to several classes."""
        every = [i for group in self.integers.values() for i in group]
        return len(every) != len(set(every))

    @property
    def channels(self) -> int:
        """Channels of the logits: background and classes; without background where classes overlap."""
        return len(self.integers) + (0 if self.overlapping else 1)

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Smallest unsigned type of a predicted label map."""
        return next(kind for kind in (np.uint8, np.uint16, np.uint32) if max(self.painted) <= np.iinfo(kind).max)

    def unknown(self, label_map: NDArray[np.generic]) -> list[int]:
        """Integers of a label map that belong to no class."""
        known = {0}.union(*self.integers.values())
        return [int(label) for label in np.unique(label_map[~np.isin(label_map, sorted(known))])]

    def decode(self, target: NDArray[np.generic]) -> NDArray[np.unsignedinteger[Any]]:
        """Integers of a file, in the smallest unsigned type.

        Args:
            target: class indices (1, *S), 0 for background, or where classes overlap a mask each, (classes, *S).
        """
        label_map = np.zeros(target.shape[1:], dtype=self.dtype)
        for i, value in enumerate(self.painted):
            label_map[target[i] > 0 if self.overlapping else target[0] == i + 1] = value
        return label_map

    def index(self, label_map: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Class of each voxel from 1, 0 for background; of overlapping classes the last."""
        index = np.zeros(label_map.shape, dtype=np.uint8)
        for i, group in enumerate(self.integers.values(), start=1):
            index[np.isin(label_map, group)] = i
        return index

    def to_json(self) -> dict[str, dict[str, list[int]] | list[int]]:
        """Plain values for a JSON file."""
        return {"integers": {name: list(group) for name, group in self.integers.items()}, "painted": list(self.painted)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Labels":
        """Inverse of ``to_json``.

        Raises:
            ValueError: if these are no classes; and KeyError, TypeError or AttributeError.
        """
        integers = {str(name): tuple(map(int, group)) for name, group in plain["integers"].items()}
        painted = tuple(map(int, plain["painted"]))
        if not integers or len(painted) != len(integers) or min(*painted, *map(min, integers.values())) < 0:
            raise ValueError(f"{integers} painted {painted} are no classes")
        return cls(integers, painted)


def likeliest(shares: Iterable[Tensor], labels: Labels) -> Tensor:
    """Give every voxel to the class that fills most of it, or to the background if that fills more.

    Args:
        shares: that each class has in the voxels, one class (*S) after another, 0 to 1.
        labels: the classes.

    Returns:
        Class indices (1, *S), 0 for background, or where classes overlap a mask each, (classes, *S); uint8.
    """
    if labels.overlapping:
        return torch.stack([share > 0.5 for share in shares]).to(torch.uint8)
    numbered = enumerate(shares, start=1)
    number, largest = next(numbered)
    index, together = torch.full(largest.shape, number, dtype=torch.uint8, device=largest.device), largest
    for number, share in numbered:
        index.masked_fill_(share > largest, number)
        largest, together = torch.maximum(largest, share), together + share
    return index.mul_(largest + together > 1)[None]
