"""Prepared cases on disk, made once: arrays that are read by memory mapping, so that any number of cases fits."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from attention_unet.atomic import replacing, write_text
from attention_unet.data.cases import Case
from attention_unet.data.labels import Labels
from attention_unet.data.preprocessing import Preprocessing, prepare, prepare_target, read_case
from attention_unet.errors import DataError

FORMAT = 2  # raised whenever what is stored changes
LOCATIONS_A_CLASS = 5000


@dataclass(frozen=True)
class CachedCase:
    """A prepared case on disk.

    Attributes:
        id: of the case.
        image: (C, *S) float32.
        target: what the network learns, as ``prepare_target`` gives it.
        locations: voxels of classes, rows of (class, i, j, k), up to 5000 a class, grouped by class.
    """

    id: str
    image: NDArray[np.float32]
    target: NDArray[np.uint8]
    locations: NDArray[np.int32]


class CachedCases(Sequence[CachedCase]):
    """Cases that are opened when they are looked at and closed when they are let go: however many there are, few files
    are open and little memory is held.

    Args:
        folders: id and folder of each case.
    """

    def __init__(self, folders: Sequence[tuple[str, Path]]) -> None:
        self.folders = folders

    def __len__(self) -> int:
        return len(self.folders)

    @overload
    def __getitem__(self, index: int) -> CachedCase: ...
    @overload
    def __getitem__(self, index: slice) -> "CachedCases": ...
    def __getitem__(self, index: int | slice) -> "CachedCase | CachedCases":
        """Open a case; its arrays stay on disk until they are looked at."""
        if isinstance(index, slice):
            return CachedCases(self.folders[index])
        case, folder = self.folders[index]
        return CachedCase(
            case,
            np.load(folder / "image.npy", mmap_mode="r"),
            np.load(folder / "target.npy", mmap_mode="r"),
            np.load(folder / "locations.npy"),
        )


class CaseCache:
    """Cases prepared in one way, in a folder named after that way."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, labels: Labels, channels: int) -> None:
        self.preprocessing = preprocessing
        self.channels = channels
        self.labels = labels
        way = json.dumps([FORMAT, preprocessing.to_json(), labels.to_json()], sort_keys=True)
        self.folder = folder / hashlib.sha256(way.encode()).hexdigest()[:16]

    def add(self, cases: Sequence[Case], done: Callable[[], None]) -> None:
        """Prepare the cases that are not there yet, or whose files have changed; ``done`` is called after each.

        Raises:
            DataError: listing every case that cannot be prepared.
        """
        problems: list[str] = []
        for case in cases:
            try:
                if not self._ready(case).is_file():
                    self._store(case)
            except DataError as error:
                problems.append(str(error))
            done()
        if problems:
            raise DataError("\n".join(problems))

    def open(self, cases: Sequence[Case]) -> "CachedCases":
        """Prepared cases, in the same order."""
        return CachedCases([(case.id, self._ready(case).parent) for case in cases])

    def _ready(self, case: Case) -> Path:
        """The file that is written last, in a folder that changes whenever a file of the case does."""
        digest = hashlib.sha256()
        for path in (*case.images, case.label):
            if path is not None:
                try:
                    status = path.stat()
                except OSError as error:
                    raise DataError(f"{path}: cannot be read ({error.strerror}): was it moved?") from error
                digest.update(f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}\n".encode())
        return self.folder / f"{case.id}-{digest.hexdigest()[:12]}" / "ready"

    def _store(self, case: Case) -> None:
        image, label = read_case(case, self.channels, self.labels)
        prepared = prepare(image, self.preprocessing)
        target = prepare_target(label, self.labels, prepared)
        ready = self._ready(case)
        for name, array in (
            ("image.npy", prepared.image.numpy()),
            ("target.npy", target),
            ("locations.npy", class_locations(target, self.labels)),
        ):
            with replacing(ready.parent / name) as partial:
                np.save(partial, array, allow_pickle=False)
        write_text(ready, "")


def class_locations(target: NDArray[np.uint8], labels: Labels) -> NDArray[np.int32]:
    """Voxels of each class in a target: rows of (class index from 0, i, j, k), evenly thinned to 5000 a class."""
    rows = []
    for index in range(len(labels.names)):
        found = np.argwhere(target[index] > 0 if labels.overlapping else target[0] == index + 1)
        if len(found) > LOCATIONS_A_CLASS:
            found = found[np.linspace(0, len(found) - 1, LOCATIONS_A_CLASS).round().astype(int)]
        rows.append(np.column_stack([np.full(len(found), index), found]))
    return np.concatenate(rows).astype(np.int32)
