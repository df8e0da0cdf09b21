"""Prepared cases on disk, a file each, made once and read by memory mapping, so that any number of them fits."""

import functools
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from attention_unet.dataset.case_facts import CaseFacts, facts_of
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_case
from attention_unet.errors import DataError
from attention_unet.files.atomic import PARTIAL, replacing
from attention_unet.preparation.preprocessing import Preprocessing, preprocess, preprocess_target
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume

PARTS = ("image", "target", "locations")
FORMAT = 6  # raised whenever what is stored changes
LONG_AGO = 24 * 3600  # seconds
LOCATIONS_A_CLASS = 5000
KEPT = 512  # cases that are mapped: to map one again for every patch takes as long as cutting it


@dataclass(frozen=True)
class CachedCase:
    """A prepared case on disk.

    Attributes:
        id: of the case.
        image: (C, *S) float32.
        target: what the network learns, as ``preprocess_target`` gives it.
        locations: voxels of classes, rows of (class, i, j, k), up to 5000 a class, grouped by class.
    """

    id: str
    image: NDArray[np.float32]
    target: NDArray[np.uint8]
    locations: NDArray[np.int32]


class CachedCases(Sequence[CachedCase]):
    """Cases that are opened when they are looked at: however many there are, no file stays open and little memory is
    held.

    Args:
        files: id and file of each case.
    """

    def __init__(self, files: Sequence[tuple[str, Path]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def without(self, ids: Collection[str]) -> "CachedCases":
        """The cases that are not listed."""
        return CachedCases([(case, file) for case, file in self.files if case not in ids])

    @overload
    def __getitem__(self, index: int) -> CachedCase: ...
    @overload
    def __getitem__(self, index: slice) -> "CachedCases": ...
    def __getitem__(self, index: int | slice) -> "CachedCase | CachedCases":
        """Open a case; its arrays stay on disk until they are looked at."""
        if isinstance(index, slice):
            return CachedCases(self.files[index])
        return open_case(*self.files[index])


@functools.lru_cache(maxsize=KEPT)
def open_case(case: str, file: Path) -> CachedCase:
    """Map the arrays of a case into memory.

    Raises:
        DataError: if they are not there any more.
    """
    try:
        with safe_open(file, framework="pt") as content:
            return CachedCase(case, *(content.get_tensor(part).numpy() for part in PARTS))
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{file}: the prepared case {case} cannot be read ({error}): was it removed? It is made again on --resume"
        ) from error


class CaseCache:
    """Cases prepared in one way, in a folder named after that way."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, labels: Labels, channels: int) -> None:
        self.preprocessing = preprocessing
        self.channels = channels
        self.labels = labels
        way = json.dumps([FORMAT, preprocessing.to_json(), labels.to_json()])  # classes in their order
        self.folder = folder / hashlib.sha256(way.encode()).hexdigest()[:16]

    def add(self, cases: Sequence[Case], done: Callable[[], None]) -> None:
        """Prepare the cases that are not there yet, or whose files have changed; ``done`` is called after each.

        Raises:
            DataError: listing every case that cannot be prepared.
        """
        problems: list[str] = []
        self._remove_leavings()
        for case in cases:
            try:
                if not _is_whole(self._file(case)):
                    self._store(case)
            except DataError as error:
                problems.append(str(error))
            done()
        if problems:
            raise DataError("\n".join(problems))

    def facts(self, cases: Sequence[Case]) -> list[CaseFacts]:
        """What prepared cases are like, in the same order."""
        found = []
        for case in cases:
            with safe_open(self._file(case), framework="pt") as content:
                found.append(CaseFacts.from_json(json.loads(content.metadata()["facts"])))
        return found

    def open(self, cases: Sequence[Case]) -> "CachedCases":
        """Prepared cases, in the same order."""
        return CachedCases([(case.id, self._file(case)) for case in cases])

    def _file(self, case: Case) -> Path:
        """Where a case lies, under a name that changes whenever a file of the case does, or what it is called.

        The system sets the time of the last change (ctime) of a file. Unlike the other times, no program can set it.
        """
        digest = hashlib.sha256(f"{case.id}\n".encode())
        for path in (*case.images, case.label):
            if path is not None:
                try:
                    status = path.stat()
                except OSError as error:
                    raise DataError(f"{path}: cannot be read ({error.strerror}): was it moved?") from error
                digest.update(f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}\n".encode())
        return self.folder / f"{digest.hexdigest()[:32]}.safetensors"

    def _store(self, case: Case) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image, label = read_case(case, self.channels, self.labels)
        prepared = preprocess(image, self.preprocessing)
        target = preprocess_target(label, self.labels, prepared)
        told = [str(warning.message) for warning in caught]
        facts = facts_of(case.id, image, label, self.labels, told, lost_classes(target, label, self.labels))
        arrays = (
            prepared.image.contiguous(),
            torch.from_numpy(target),
            torch.from_numpy(class_locations(target, self.labels)),
        )
        with replacing(self._file(case)) as partial:
            try:
                save_file(dict(zip(PARTS, arrays, strict=True)), partial, {"facts": json.dumps(facts.to_json())})
            except SafetensorError as error:
                raise DataError(f"{self.folder}: cannot be written ({error}): free space or set data.cache") from error

    def _remove_leavings(self) -> None:
        """Remove what a killed process left half-written, so long ago that no other can still be writing it."""
        for partial in self.folder.glob(f"{PARTIAL}*"):
            with suppress(OSError):
                if time.time() - partial.stat().st_mtime > LONG_AGO:
                    partial.unlink()


def _is_whole(file: Path) -> bool:
    """Whether a prepared case is there, in full length."""
    try:
        with safe_open(file, framework="pt") as content:
            return set(content.keys()) == set(PARTS) and "facts" in (content.metadata() or {})
    except (OSError, SafetensorError):
        return False


def lost_classes(target: NDArray[np.uint8], label: Volume, labels: Labels) -> list[str]:
    """Classes of a label that have no voxel in its target."""
    lost = []
    for index, (name, group) in enumerate(labels.integers.items()):
        kept = (target[index] > 0).any() if labels.overlapping else (target[0] == index + 1).any()
        if not kept and np.isin(label.array, group).any():
            lost.append(name)
    return lost


def class_locations(target: NDArray[np.uint8], labels: Labels) -> NDArray[np.int32]:
    """Voxels of each class in a target: rows of (class index from 0, i, j, k), evenly thinned to 5000 a class."""
    rows = []
    for index in range(len(labels.names)):
        found = np.argwhere(target[index] > 0 if labels.overlapping else target[0] == index + 1)
        if len(found) > LOCATIONS_A_CLASS:
            found = found[np.linspace(0, len(found) - 1, LOCATIONS_A_CLASS).round().astype(int)]
        rows.append(np.column_stack([np.full(len(found), index), found]))
    return np.concatenate(rows).astype(np.int32, order="C")
