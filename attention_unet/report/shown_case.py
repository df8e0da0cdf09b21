"""The voxels of a case as the page keeps them: along RAS+ axes, bytes, and no more of them than a page can carry."""

import gzip
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_unet.dataset.cases import Case
from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.files.prediction_folder import attention_path, grad_cam_path
from attention_unet.pictures.mosaic import upper_bound
from attention_unet.scans.geometry import ScanGrid, box_of, fit_grid
from attention_unet.scans.volumes import Volume, check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

MARGIN_MM = 15.0  # around the structures, where not all of a scan is shown
GRAD_CAM_EDGE = 2.0  # voxels of the scan, fewer than its own voxels have
STEPS = 255  # that the values of a channel are told apart in
Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class ShownCase:
    """What the page holds of a case.

    Attributes:
        described: plain values, along RAS+ axes where they have axes:
            "shape", "spacing_mm": of what is shown;
            "to_file", "to_mm": 3 x 4, from a voxel of this shape to one of the file, and to RAS+ millimetres;
            "step": voxels of the file from one shown to the next;
            "whole": whether all of the scan is there;
            "tilt_degrees": of the grid against RAS+;
            "channels": of each the values of the lowest and the highest byte, and which to draw black and white;
            "maps": of attention and Grad-CAM: name, shape, voxels of theirs in a shown one, weight of the highest byte;
            "predicted": whether there is a prediction;
            "problem": why no scan is shown, or null.
        voxels: bytes of the channels, then class indices of reference and prediction, then maps, left-right fastest;
            gzip.
    """

    described: dict[str, Any]
    voxels: bytes


def show_case(scored: EvaluatedFiles, case: str, attention_mm: Mapping[str, Sequence[float]], most: int) -> ShownCase:
    """Read all that there is to see of a case.

    Args:
        scored: the files.
        case: one of them.
        attention_mm: voxel size of each attended level along RAS+ axes; of others, that of the scan.
        most: voxels of channels that may be kept; those of masks take next to nothing.

    Raises:
        DataError: if a label map is damaged, or they lie on different grids.
    """
    reference = read_labels(scored.references[case])
    prediction = read_labels(scored.predicted[case]) if case in scored.predicted else None
    if prediction is not None:
        check_same_grid(prediction, reference)
    image, problem = _read_scan(scored, case, reference)
    scan_grid = fit_grid(reference.affine, reference.grid, (1.0, 1.0, 1.0))
    masks = [
        np.zeros(scan_grid.scan, np.uint8) if volume is None else scored.labels.index(scan_grid.orient(volume.array[0]))
        for volume in (reference, prediction)
    ]
    spacing_mm = np.array(reference.spacing_mm)[list(scan_grid.order)]
    channels = [] if image is None else list(scan_grid.orient(image.array))
    window = _choose_window(masks[0] | masks[1], spacing_mm, most // max(len(channels), 1))
    kept = [_as_bytes(channel[window]) for channel in channels]
    arrays = [*(array for array, _ in kept), *(mask[window] for mask in masks)]
    maps = []
    for name, path, edge in _maps_of(scored, case, attention_mm, spacing_mm):
        volume = read_volume(path)
        check_same_grid(volume, reference)
        array, told = _sample(scan_grid.orient(volume.array[0]), window, edge)
        arrays.append(array)
        maps.append({"name": name, **told})
    step = [s.step for s in window]
    described = {
        "shape": list(arrays[-1 - len(maps)].shape),
        "spacing_mm": [float(mm) for mm in spacing_mm * step],
        **_geometry(scan_grid, window, reference),
        "step": step,
        "whole": all((s.start, s.stop) == (0, n) for s, n in zip(window, scan_grid.scan, strict=True)),
        "tilt_degrees": _tilt(reference.affine),
        "channels": [told for _, told in kept],
        "maps": maps,
        "predicted": prediction is not None,
        "problem": problem,
    }
    return ShownCase(described, gzip.compress(b"".join(a.tobytes(order="F") for a in arrays), mtime=0))


def _read_scan(scored: EvaluatedFiles, case: str, reference: Volume) -> tuple[Volume | None, str | None]:
    """The scan of a case; or why there is none to show, which leaves the masks to look at."""
    if not scored.images[case]:
        return None, "Its scan was not named: evaluate with --images, and report again."
    try:
        image = read_channels(Case(case, tuple(scored.images[case])))
        check_same_grid(image, reference)
    except DataError as error:
        log.warning("%s is shown without its scan: %s", case, error)
        return None, f"Without its scan: {error}"
    return image, None


def _maps_of(
    scored: EvaluatedFiles, case: str, attention_mm: Mapping[str, Sequence[float]], spacing_mm: NDArray[np.float64]
) -> Iterator[tuple[str, Path, NDArray[np.float64]]]:
    """Name and file of every map of a case, and the edges of the voxels to show it in, in voxels of the scan."""
    if case not in scored.predicted:
        return
    folder = scored.predicted[case].parent
    for level in scored.attention_levels(case):
        size_mm = np.array(attention_mm.get(str(level), spacing_mm))
        words = " x ".join(f"{mm:.3g}" for mm in size_mm)
        name = f"attention of level {level}, voxels of {words} mm"
        yield name, attention_path(folder, case, level), size_mm / spacing_mm
    for name, label in zip(scored.labels.names, scored.labels.painted, strict=True):
        path = grad_cam_path(folder, case, label)
        if path.is_file():
            yield f"Grad-CAM of {name}", path, np.full(3, GRAD_CAM_EDGE)


def _choose_window(structures: NDArray[np.uint8], spacing_mm: NDArray[np.float64], most: int) -> Window:
    """All voxels if they are few, else those around the structures; of these every second, or fewer, if they must."""
    whole = tuple(slice(0, n, 1) for n in structures.shape)
    if structures.size <= most:
        return whole  # type: ignore[return-value]
    box = box_of(structures > 0) if structures.any() else whole
    grown = [
        (max(s.start - math.ceil(MARGIN_MM / mm), 0), min(s.stop + math.ceil(MARGIN_MM / mm), n))
        for s, mm, n in zip(box, spacing_mm, structures.shape, strict=True)
    ]
    edges, step = np.array([stop - start for start, stop in grown]), np.ones(3, dtype=int)
    while math.prod(-(-edges // step)) > most:
        step[int((spacing_mm * step).argmin())] += 1
    i, j, k = (slice(start, stop, int(by)) for (start, stop), by in zip(grown, step, strict=True))
    return i, j, k


def _geometry(scan_grid: ScanGrid, window: Window, volume: Volume) -> dict[str, Any]:
    """Where a shown voxel lies in the file and in space."""
    to_file = np.zeros((3, 4))
    for axis, (own, flipped) in enumerate(zip(scan_grid.order, scan_grid.flipped, strict=True)):
        start, step = window[axis].start, window[axis].step
        to_file[own, axis] = -step if flipped else step
        to_file[own, 3] = scan_grid.scan[axis] - 1 - start if flipped else start
    to_mm = volume.affine @ np.vstack([to_file, [0, 0, 0, 1]])
    return {"to_file": to_file.astype(int).tolist(), "to_mm": np.round(to_mm[:3], 6).tolist()}


def _tilt(affine: NDArray[np.float64]) -> float:
    """Largest angle, in degrees, between an axis of a grid and the nearest one of the patient."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return round(float(np.degrees(np.arccos(np.abs(directions).max(axis=0).min().clip(0, 1)))), 1)


def _as_bytes(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """A channel in bytes, the value of the lowest and the highest, whether no value was rounded or cut off, and which
    bytes to draw black and white.
    """
    low, high = float(values.min()), float(values.max())
    exact = high - low <= STEPS and bool((values == np.round(values)).all())
    if exact:
        high = low + STEPS
    else:
        low, high = (float(edge) for edge in np.percentile(values, [0.1, 99.9]))
        high = high if high > low else low + 1.0
    array = np.round((values - low) * (STEPS / (high - low))).clip(0, STEPS).astype(np.uint8)
    dark, bright = (int(edge) for edge in np.percentile(array, [0.5, 99.5]))
    return array, {"low": low, "high": high, "exact": exact, "dark": dark, "bright": max(bright, dark + 1)}


def _sample(
    weights: NDArray[np.float32], window: Window, edge: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The middle of every voxel of a level within a window.

    Args:
        weights: of attention (I, J, K), from 0, along RAS+ axes, on the scan's grid.
        window: that is shown.
        edge: of a voxel of the level, in voxels of the scan.
    """
    edge = np.maximum(edge, [s.step for s in window])
    places = []
    for s, by in zip(window, edge, strict=True):
        count = max(round((s.stop - s.start) / by), 1)
        middles = s.start + (np.arange(count) + 0.5) * by - 0.5
        places.append(np.round(middles).astype(int).clip(s.start, s.stop - 1))
    sampled = weights[np.ix_(*places)]
    top = upper_bound(float(sampled.max()))
    per_shown = [s.step / by for s, by in zip(window, edge, strict=True)]
    array = np.round(sampled * (STEPS / top)).clip(0, STEPS).astype(np.uint8)
    return array, {"shape": list(array.shape), "per_shown": per_shown, "top": top}
