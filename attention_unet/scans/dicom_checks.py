"""Check that the slices of a DICOM series form one volume."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError
from attention_unet.scans.dicom_frames import Frame

SAME_ORIENTATION = 1e-4  # largest difference of direction cosines between slices of one volume
SAME_SPACING = 1e-3  # largest relative difference of PixelSpacing between slices of one volume
SAME_POSITION_MM = 1e-3  # slices closer than this have the same position
UNEVEN = 0.02  # largest difference between slice distances, relative or in mm, whichever is larger
SIDEWAYS_MM = 0.1  # largest shift of a slice within its plane


def check_frames_agree(folder: Path, frames: Sequence[Frame]) -> None:
    """Raise DataError if slices differ in orientation, size or spacing, or a file has frames of several volumes."""
    orientations: list[NDArray[np.float64]] = []
    for frame in frames:
        if all(np.abs(frame.directions - known).max() > SAME_ORIENTATION for known in orientations):
            orientations.append(frame.directions)
    if len(orientations) > 1:
        raise DataError(
            f"{folder}: its slices have {len(orientations)} orientations: expected one; is it a localiser? Choose "
            "another series"
        )
    usual = Counter(frame.size for frame in frames).most_common(1)[0][0]
    for frame in frames:
        if frame.size != usual:
            raise DataError(
                f"{folder}: {frame.name} has {frame.size[0]} x {frame.size[1]} pixels, the other slices have "
                f"{usual[0]} x {usual[1]}: expected one size; export each series into a folder of its own"
            )
    usual_mm = Counter(frame.spacing_mm for frame in frames).most_common(1)[0][0]
    example = next(frame for frame in frames if frame.spacing_mm == usual_mm)
    for frame in frames:
        if not np.allclose(frame.spacing_mm, usual_mm, rtol=SAME_SPACING, atol=0):
            raise DataError(
                f"{folder}: {frame.name} has pixels of {frame.spacing_mm[0]:g} x {frame.spacing_mm[1]:g} mm, "
                f"{example.name} of {usual_mm[0]:g} x {usual_mm[1]:g} mm (PixelSpacing): expected one spacing; export "
                "each series into a folder of its own"
            )
    if len({frame.file for frame in frames}) < len(frames) and (variants := describe_variants(frames)):
        raise DataError(f"{folder}: holds several {variants}: expected one volume; export one at a time")


def describe_variants(frames: Sequence[Frame]) -> str:
    """Return names and values of the fields VARIANTS in which slices differ; empty if they do not differ."""
    values: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        for word, value in frame.variant.items():
            values[word].add(value)
    return ", ".join(f"{word} ({', '.join(sorted(texts)[:5])})" for word, texts in values.items() if len(texts) > 1)


def measure_slice_distance(folder: Path, frames: Sequence[Frame]) -> float:
    """Return the distance between slices in mm.

    Raise DataError if it is 0 or not constant, if slices are shifted sideways, or if a single slice has no thickness.
    """
    first = frames[0]
    if len(frames) == 1:
        if not first.thickness_mm:
            raise DataError(
                f"{folder}: {first.name} has no SliceThickness: expected a size above 0 mm; export it again"
            )
        return first.thickness_mm
    positions = np.array([frame.position for frame in frames])
    along = positions @ first.normal
    steps = np.diff(along)
    doubled = [pair for pair, step in zip(pairwise(frames), steps, strict=True) if step < SAME_POSITION_MM]
    if len(doubled) >= len(frames) / 2:
        reason = f" ({variants})" if (variants := describe_variants(frames)) else ""
        raise DataError(
            f"{folder}: holds several images of each slice{reason}: expected one volume; export one at a time, "
            "or convert to NIfTI with dcm2niix and name one by --channel"
        )
    if doubled:
        raise DataError(
            f"{folder}: {doubled[0][0].name} and {doubled[0][1].name} have the same position: expected one slice per "
            "position; remove one of them"
        )
    sideways_mm = np.linalg.norm(positions - positions[0] - np.outer(along - along[0], first.normal), axis=1).max()
    if sideways_mm > SIDEWAYS_MM:
        raise DataError(
            f"{folder}: slices are shifted sideways by up to {sideways_mm:.1f} mm, as with a tilted gantry: expected "
            "no shift; resample the series"
        )
    usual = float(np.median(steps))
    odd = int(np.abs(steps - usual).argmax())
    if abs(steps[odd] - usual) > max(UNEVEN * usual, UNEVEN):
        guess = "missing" if steps[odd] > 1.5 * usual else "moved"
        raise DataError(
            f"{folder}: slices are {usual:.2f} mm apart, but {frames[odd].name} and {frames[odd + 1].name} are "
            f"{steps[odd]:.2f} mm: is one {guess}? Export the series again"
        )
    return float(along[-1] - along[0]) / (len(frames) - 1)
