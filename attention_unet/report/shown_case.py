"""Pack the voxels of a case for the report: along RAS+ axes, in bytes, and few enough for a page."""

import gzip
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attention_unet.dataset.reading import read_channels
from attention_unet.errors import DataError, times
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.files.prediction_folder import grad_cam_path
from attention_unet.pictures.mosaic import upper_bound
from attention_unet.scans.foreground import bounding_box
from attention_unet.scans.geometry import ScanGrid, fit_grid
from attention_unet.scans.labels import IGNORED
from attention_unet.scans.orientation import unit_vectors
from attention_unet.scans.volumes import Volume, check_same_grid, read_labels, read_volume

log = logging.getLogger(__name__)

MARGIN_MM = 15.0  # around the structures, if only a part of the scan is shown
GRAD_CAM_EDGE = 2.0  # voxel size of Grad-CAM maps on the page, in voxels of the scan
STEPS = 255  # the highest byte
Window = tuple[slice, slice, slice]


class ShownCase(NamedTuple):
    """Facts and voxels of a case on the page.

    Attributes:
        facts: plain values, with axes in RAS+ order:
            "shape", "spacing_mm": of the shown voxels;
            "to_file", "to_mm": 3 x 4 matrices from a shown voxel to a voxel of the file, and to RAS+ millimetres;
            "step": voxels of the file between neighbouring shown voxels;
            "whole": whether the whole scan is shown;
            "tilt_degrees": angle between the grid and the RAS+ axes;
            "channels": for each channel, values of the lowest and highest byte, and the bytes to draw black and white;
            "maps": for each map of attention or Grad-CAM, name, shape, map voxels per shown voxel, and weight of the
            highest byte;
            "predicted": whether there is a prediction;
            "problem": why no scan is shown; None if it is shown.
        voxels: gzip of the bytes of the channels, class indices of reference (or ``IGNORED``) and prediction, and maps;
            the left-right axis is the fastest.
    """

    facts: dict[str, Any]
    voxels: bytes


def show_case(files: EvaluatedFiles, case: str, attention_mm: Mapping[str, Sequence[float]], most: int) -> ShownCase:
    """Read and pack the scan, label maps and maps of a case.

    ``attention_mm`` is the voxel size by place with attention, along the array axes of the scan; others have the
    scan's. ``most`` is the maximal number of voxels of all channels. Masks are not counted because they compress well.
    Raise DataError if a label map is damaged, or if grids differ.
    """
    reference = read_labels(files.reference(case))
    prediction = read_labels(files.predicted[case]) if case in files.predicted else None
    if prediction is not None:
        check_same_grid(prediction, reference)
    image, problem = _read_scan(files, case, reference)
    scan_grid = fit_grid(reference.affine, reference.grid, (1.0, 1.0, 1.0))
    masks = [
        np.zeros(scan_grid.scan, np.uint8) if volume is None else files.labels.index(scan_grid.orient(volume.array[0]))
        for volume in (reference, prediction)
    ]
    spacing_mm = np.array(scan_grid.scan_mm)
    channels = [] if image is None else list(scan_grid.orient(image.array))
    window = _choose_window(masks[0] | masks[1], spacing_mm, most // max(len(channels), 1))
    if files.labels.ignore is not None:
        masks[0][scan_grid.orient(reference.array[0]) == files.labels.ignore] = IGNORED
    packed = [_to_bytes(channel[window]) for channel in channels]
    arrays = [*(array for array, _ in packed), *(mask[window] for mask in masks)]
    maps = []
    sizes_mm = {place: np.array(size)[list(scan_grid.order)] for place, size in attention_mm.items()}
    for name, path, edge in _find_maps(files, case, sizes_mm, spacing_mm):
        volume = read_volume(path)
        check_same_grid(volume, reference)
        array, map_facts = _sample_map(scan_grid.orient(volume.array[0]), window, edge)
        arrays.append(array)
        maps.append({"name": name, **map_facts})
    step = [s.step for s in window]
    facts = {
        "shape": list(arrays[-1 - len(maps)].shape),
        "spacing_mm": [float(mm) for mm in spacing_mm * step],
        **_voxel_transforms(scan_grid, window, reference),
        "step": step,
        "whole": all((s.start, s.stop) == (0, n) for s, n in zip(window, scan_grid.scan, strict=True)),
        "tilt_degrees": _tilt_degrees(reference.affine),
        "channels": [channel_facts for _, channel_facts in packed],
        "maps": maps,
        "predicted": prediction is not None,
        "problem": problem,
    }
    return ShownCase(facts, gzip.compress(b"".join(a.tobytes(order="F") for a in arrays), mtime=0))


def _read_scan(files: EvaluatedFiles, case: str, reference: Volume) -> tuple[Volume | None, str | None]:
    """Return the scan of a case, or None and the reason why only the masks can be shown."""
    if not files.cases[case].images:
        return None, "The scan of this case is unknown: evaluate with --images, and report again."
    try:
        image = read_channels(files.cases[case])
        check_same_grid(image, reference)
    except DataError as error:
        log.warning("%s is shown without its scan: %s", case, error)
        return None, f"The scan cannot be shown: {error}"
    return image, None


def _find_maps(
    files: EvaluatedFiles, case: str, sizes_mm: Mapping[str, NDArray[np.float64]], spacing_mm: NDArray[np.float64]
) -> Iterator[tuple[str, Path, NDArray[np.float64]]]:
    """Yield name and file of each map of a case, and the voxel size to show it in, in voxels of the scan."""
    if case not in files.predicted:
        return
    folder, stored = files.folder_and_stem(case)
    for place, path in files.attention_maps(case).items():
        size_mm = sizes_mm.get(place, spacing_mm)
        size = times(size_mm, ".3g")
        yield f"attention, {place}, voxels of {size} mm", path, size_mm / spacing_mm
    for name, label in zip(files.labels.names, files.labels.painted, strict=True):
        path = grad_cam_path(folder, stored, label)
        if path.is_file():
            yield f"Grad-CAM of {name}", path, np.full(3, GRAD_CAM_EDGE)


def _choose_window(structures: NDArray[np.uint8], spacing_mm: NDArray[np.float64], most: int) -> Window:
    """Return all voxels if they are few enough; otherwise those around the structures, thinned out if necessary."""
    limits = [(0, n) for n in structures.shape]
    if structures.size > most and structures.any():
        box = bounding_box(structures > 0, [math.ceil(MARGIN_MM / mm) for mm in spacing_mm])
        limits = [side.indices(n)[:2] for side, n in zip(box, structures.shape, strict=True)]
    edges, step = np.array([stop - start for start, stop in limits]), np.ones(3, dtype=int)
    while math.prod(-(-edges // step)) > most:
        step[int((spacing_mm * step).argmin())] += 1
    i, j, k = (slice(start, stop, int(by)) for (start, stop), by in zip(limits, step, strict=True))
    return i, j, k


def _voxel_transforms(scan_grid: ScanGrid, window: Window, volume: Volume) -> dict[str, Any]:
    """Return the matrices from a shown voxel to its voxel in the file and to its position in mm."""
    to_file = np.zeros((3, 4))
    for axis, (file_axis, flipped) in enumerate(zip(scan_grid.order, scan_grid.flipped, strict=True)):
        start, step = window[axis].start, window[axis].step
        to_file[file_axis, axis] = -step if flipped else step
        to_file[file_axis, 3] = scan_grid.scan[axis] - 1 - start if flipped else start
    to_mm = volume.affine @ np.vstack([to_file, [0, 0, 0, 1]])
    return {"to_file": to_file.astype(int).tolist(), "to_mm": np.round(to_mm[:3], 6).tolist()}


def _tilt_degrees(affine: NDArray[np.float64]) -> float:
    """Return the largest angle between an axis of a grid and the nearest axis of the patient."""
    return round(float(np.degrees(np.arccos(np.abs(unit_vectors(affine)).max(axis=0).min().clip(0, 1)))), 1)


def _to_bytes(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return a channel in bytes, and its facts: values of the lowest and highest byte, whether all values are exact,
    and the bytes to draw black and white.
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


def _sample_map(
    weights: NDArray[np.float32], window: Window, edge: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return a map at the centre of each of its voxels in a window, in bytes, and its facts.

    Weights (I, J, K), 0 or more, are on the grid of the scan along RAS+ axes. ``edge`` is the voxel size of the map, in
    voxels of the scan.
    """
    edge = np.maximum(edge, [s.step for s in window])
    indices = []
    for s, by in zip(window, edge, strict=True):
        count = max(round((s.stop - s.start) / by), 1)
        centres = s.start + (np.arange(count) + 0.5) * by - 0.5
        indices.append(np.round(centres).astype(int).clip(s.start, s.stop - 1))
    sampled = weights[np.ix_(*indices)]
    top = upper_bound(float(sampled.max()))
    per_shown = [s.step / by for s, by in zip(window, edge, strict=True)]
    array = np.round(sampled * (STEPS / top)).clip(0, STEPS).astype(np.uint8)
    return array, {"shape": list(array.shape), "per_shown": per_shown, "top": top}
