"""Store preprocessed cases on disk, one file each, and read them by memory mapping, so that any number fits."""

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from attention_unet.dataset.case_facts import CaseFacts, measure_case
from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_case
from attention_unet.errors import DataError, times
from attention_unet.files.atomic import STALE_SECONDS, remove_partials, replacing
from attention_unet.files.digest import state_of
from attention_unet.machine.memory import free_memory
from attention_unet.machine.processes import run_all
from attention_unet.preparation.preprocessing import Preprocessing, preprocess, preprocess_target
from attention_unet.preparation.synthetic_regions import find_regions
from attention_unet.scans.geometry import fit_grid
from attention_unet.scans.labels import IGNORED, Labels, mask_of
from attention_unet.scans.volume_files import list_files
from attention_unet.scans.volumes import Volume

PARTS = ("image", "target", "locations", "annotated_voxels", "annotated_classes", "regions", "region_counts")
FORMAT = 19  # version of the stored content
LOCATIONS_PER_CLASS = 5000
MAPPED_CASES = 512  # cases that stay mapped, because mapping takes as long as cutting a patch


@dataclass(frozen=True)
class CachedCase:
    """Preprocessed case on disk."""

    id: str  # case id
    image: NDArray[np.float32]  # (C, *S) float32
    target: NDArray[np.uint8]  # target of the network, as returned by ``preprocess_target``
    # Voxels of the classes, rows of (class, i, j, k), up to 5000 per class, grouped by class.
    locations: NDArray[np.int32]
    # Up to 5000 voxels that are not ignored, rows of (i, j, k); empty if none is ignored.
    annotated_voxels: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    # Whether each class is annotated (K,): the background may hold voxels of one that is not. (1,) stands for all.
    annotated_classes: NDArray[np.bool_] = field(default_factory=lambda: np.ones(1, dtype=bool))
    # Region of each voxel (1, *S), as ``find_regions`` returns them; without a voxel if none are stored.
    regions: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 0, 0, 0), np.uint8))
    # Number of voxels of each region.
    region_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))


class CachedCases(Sequence[CachedCase]):
    """Cases that are opened on access, so that many cases need no open files and little memory."""

    def __init__(self, files: Sequence[tuple[str, Path]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> CachedCase:  # type: ignore[override]
        """Return a case; its arrays stay on disk until they are used."""
        return open_case(*self.files[index])


@functools.lru_cache(maxsize=MAPPED_CASES)
def open_case(case: str, file: Path) -> CachedCase:
    """Map the arrays of a case into memory. Raise DataError if the file is missing or damaged."""
    with _reporting_damage(case, file), safe_open(file, framework="pt") as content:
        return CachedCase(case, *(content.get_tensor(part).numpy() for part in PARTS))


@contextmanager
def _reporting_damage(case: str, file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{file}: the preprocessed case {case} cannot be read ({error}): repeat the command ('train' with "
            "--resume) to preprocess it again"
        ) from error


class CaseCache:
    """Preprocessed cases in a folder that is named by the hash of their settings.

    With ``with_regions`` also the regions, from which images can be synthesized.
    """

    def __init__(
        self, folder: Path, preprocessing: Preprocessing, labels: Labels, channels: int, with_regions: bool = False
    ) -> None:
        self.preprocessing = preprocessing
        self.channels = channels
        self.labels = labels
        self.with_regions = with_regions
        # The order of the classes counts.
        settings = json.dumps([FORMAT, asdict(preprocessing), labels.to_json(), channels, with_regions])
        self.folder = folder / hashlib.sha256(settings.encode()).hexdigest()[:16]

    def add(self, cases: Sequence[Case], done: Callable[[], None]) -> None:
        """Preprocess the cases that are missing or whose files have changed; ``done`` is called after each.

        Raise DataError if cases cannot be preprocessed. It lists all of them.
        """
        remove_partials(self.folder, STALE_SECONDS)
        if problems := [problem for problem in run_all(self._try_store, cases, done) if problem]:
            raise DataError("\n".join(problems))

    def facts(self, cases: Sequence[Case]) -> list[CaseFacts]:
        """Return the facts of preprocessed cases, in the same order."""
        facts = []
        for case in cases:
            file = self._file(case)
            with _reporting_damage(case.id, file), safe_open(file, framework="pt") as content:
                facts.append(CaseFacts.from_json(json.loads(content.metadata()["facts"])))
        return facts

    def open(self, cases: Sequence[Case]) -> "CachedCases":
        """Return preprocessed cases, in the same order."""
        return CachedCases([(case.id, self._file(case)) for case in cases])

    def _file(self, case: Case) -> Path:
        """Return the file of a case. Its name changes if the case id or a file of the case changes."""
        digest = hashlib.sha256(f"{case.id}\n{case.unannotated}\n".encode())
        for path in (file for volume in (*case.images, case.label) if volume for file in list_files(volume)):
            try:
                state = f"{path.resolve()}|{state_of(path)}\n"
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror}): put it back") from error
            digest.update(os.fsencode(state))
        return self.folder / f"{digest.hexdigest()[:32]}.safetensors"

    def _try_store(self, case: Case) -> str:
        """Store a case that is missing. Return why it cannot be; an empty string if it is there."""
        try:
            if not _is_complete(self._file(case)):
                self._store(case)
        except DataError as error:
            return str(error)
        return ""

    def _store(self, case: Case) -> None:
        file = self._file(case)  # named before the case is read: a change meanwhile is noticed
        image, label, warnings = read_case(case, self.channels, self.labels)
        self._check_memory(image)
        preprocessed = preprocess(image, self.preprocessing)
        target = preprocess_target(label, self.labels, preprocessed, case.unannotated)
        facts = measure_case(case, image, label, self.labels, warnings, lost_classes(target, label, self.labels))
        regions = np.zeros((1, 0, 0, 0), np.uint8)
        if self.with_regions:
            values, background = preprocessed.image.numpy(), preprocessed.background.numpy()
            regions = find_regions(values, target, background, self.labels, case.synthetic)
        arrays = (
            preprocessed.image.contiguous(),
            torch.from_numpy(target),
            torch.from_numpy(class_locations(target, self.labels)),
            torch.from_numpy(annotated_locations(target)),
            torch.tensor([name not in case.unannotated for name in self.labels.names]),
            torch.from_numpy(regions),
            torch.from_numpy(np.bincount(regions.ravel(), minlength=1)),
        )
        if _is_complete(file):  # another process was faster, and may already read its file
            return
        with replacing(file) as partial:
            try:
                save_file(dict(zip(PARTS, arrays, strict=True)), partial, {"facts": json.dumps(facts.to_json())})
            except SafetensorError as error:
                raise DataError(f"{self.folder}: cannot be written ({error}): free space or set data.cache") from error
        if file != self._file(case):
            raise DataError(f"{case.id}: one of its files changed while it was read: repeat the command")

    def _check_memory(self, image: Volume) -> None:
        """Check that an image fits into memory on the network's grid: a header may have the unit wrong."""
        spacing_mm = self.preprocessing.spacing_mm
        grid = fit_grid(image.affine, image.grid, spacing_mm, self.preprocessing.stack).grid
        needed, free = 4 * len(image.array) * math.prod(grid), free_memory()
        if needed > free:
            voxels, size = times(grid), times(spacing_mm, ".3g")
            raise DataError(
                f"{image.path}: has {voxels} voxels of {size} mm, which take {needed / 2**30:.3g} GiB: "
                f"{free / 2**30:.3g} GiB are free; check its voxel size, or set data.spacing_mm"
            )


def _is_complete(file: Path) -> bool:
    """Return whether the file of a preprocessed case exists in full length."""
    try:
        with safe_open(file, framework="pt") as content:
            return set(content.keys()) == set(PARTS) and "facts" in (content.metadata() or {})
    except (OSError, SafetensorError):
        return False


def lost_classes(target: NDArray[np.uint8], label: Volume, labels: Labels) -> list[str]:
    """Return the classes of a label map without a voxel in its target."""
    return [
        name
        for index, (name, group) in enumerate(labels.integers.items())
        if not _class_mask(target, labels, index).any() and mask_of(label.array, group).any()
    ]


def class_locations(target: NDArray[np.uint8], labels: Labels) -> NDArray[np.int32]:
    """Return voxels of each class in a target: rows of (class index from 0, i, j, k), thinned to 5000 per class."""
    rows = []
    for index in range(len(labels.names)):
        voxels = _thin(np.argwhere(_class_mask(target, labels, index)))
        rows.append(np.column_stack([np.full(len(voxels), index), voxels]))
    return np.concatenate(rows).astype(np.int32, order="C")


def annotated_locations(target: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return voxels of a target that are not ignored, rows of (i, j, k), thinned to 5000; none if none is ignored."""
    known = target[0] != IGNORED
    return np.zeros((0, 3), np.int32) if known.all() else _thin(np.argwhere(known)).astype(np.int32, order="C")


def _thin(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(voxels) <= LOCATIONS_PER_CLASS:
        return voxels
    return voxels[np.linspace(0, len(voxels) - 1, LOCATIONS_PER_CLASS).round().astype(int)]


def _class_mask(target: NDArray[np.uint8], labels: Labels, index: int) -> NDArray[np.bool_]:
    return target[index] == 1 if labels.overlapping else target[0] == index + 1
