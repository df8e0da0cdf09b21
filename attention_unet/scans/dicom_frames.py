"""The slices of a DICOM series: what their headers say, and whether they form one volume.

Positions are in mm to the left, back and top (LPS+).
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

FUNCTIONAL_GROUPS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"),
    *("FrameContentSequence", "MREchoSequence", "MRDiffusionSequence", "MRImageFrameTypeSequence"),
)
VARIANTS = {  # fields that tell several images of one slice apart
    "EffectiveEchoTime": "echo times",
    "EchoTime": "echo times",
    "TemporalPositionIndex": "time points",
    "TemporalPositionIdentifier": "time points",
    "DiffusionBValue": "b-values",
    "StackID": "stacks",
    "ImageType": "types of image",
    "FrameType": "types of image",
}
SAME_ORIENTATION = 1e-4  # largest difference of direction cosines between slices of one volume
SAME_SPACING = 1e-3  # largest relative difference of PixelSpacing between slices of one volume
SAME_POSITION_MM = 1e-3  # slices that are closer than this lie at the same position
UNEVEN = 0.02  # largest difference of slice distances: relative, or in mm if that is more
SIDEWAYS_MM = 0.1  # largest shift of a slice within its plane


@dataclass(frozen=True)
class Frame:
    """One slice: a file of its own, or a frame of a multi-frame file.

    Attributes:
        file: path.
        index: number of the frame in the file, from 0.
        name: name of the frame in messages.
        size: columns and rows.
        spacing_mm: distance between columns and between rows.
        position: (3,), centre of the first pixel in mm, LPS+.
        directions: (2, 3), unit vectors along a row and along a column, LPS+.
        thickness_mm: distance to the next slice by the header, if the header has one.
        slope: value = stored number * slope + intercept.
        intercept: see slope.
        stored_bytes: bytes of a stored number.
        variant: values of the fields VARIANTS.
    """

    file: Path
    index: int
    name: str
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    position: NDArray[np.float64]
    directions: NDArray[np.float64]
    thickness_mm: float | None
    slope: float
    intercept: float
    stored_bytes: int
    variant: Mapping[str, str]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice, LPS+."""
        across = np.cross(*self.directions)
        unit: NDArray[np.float64] = across / np.linalg.norm(across)
        return unit


@contextmanager
def damage_reported(file: Path) -> Iterator[None]:
    """Report errors of the disk, of pydicom and of GDCM with the name of a file. Silence warnings without that name.

    Raises:
        DataError: for every error that is raised inside.
    """
    from pydicom import config

    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except (DataError, MemoryError):
        raise
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}): check your rights and free space") from error
    except Exception as error:  # damaged files make pydicom raise errors of a dozen types
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise DataError(
            f"{file.parent}: {file.name} cannot be read, cut short? Export the series again ({reason})"
        ) from error


def frames_of(file: Path, header: "Dataset") -> list[Frame]:
    """Return the slices of a file: one, or one per frame.

    Raises:
        DataError: if the file holds a colour image, a mosaic or frames without positions, or if a field is missing
            or invalid.
    """
    with damage_reported(file):
        colour = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        if int(header.get("SamplesPerPixel") or 1) != 1 or not colour.startswith("MONOCHROME"):
            raise DataError(f"{file}: is a colour image ({colour}): expected a grey one; export the original images")
        if "MOSAIC" in (header.get("ImageType") or ()):
            raise DataError(
                f"{file}: is a mosaic, which holds all slices in one picture: expected one slice per image; convert "
                "the folder with dcm2niix"
            )
        if header.get("ModalityLUTSequence"):
            raise DataError(
                f"{file}: has a Modality LUT, a table from stored numbers to values: expected RescaleSlope and "
                "RescaleIntercept; convert the folder with dcm2niix"
            )
        count = int(header.get("NumberOfFrames") or 1)
        items = list(header.get("PerFrameFunctionalGroupsSequence") or [])
        if (items or count > 1) and len(items) != count:
            raise DataError(
                f"{file}: has {count} frames, but positions of {len(items)}: expected an enhanced multi-frame file or "
                "one file per slice; convert it with dcm2niix"
            )
        shared = _groups_in(*(header.get("SharedFunctionalGroupsSequence") or [])[:1])
        if not items:
            return [_frame(file, 0, file.name, [header])]
        return [
            _frame(file, i, f"frame {i + 1} of {file.name}", [*_groups_in(item), *shared, header])
            for i, item in enumerate(items)
        ]


def _groups_in(*items: "Dataset") -> list["Dataset"]:
    """Return the contents of the functional groups in an item of a sequence."""
    return [item[name][0] for item in items for name in FUNCTIONAL_GROUPS if item.get(name)]


def _frame(file: Path, index: int, name: str, holders: Sequence["Dataset"]) -> Frame:
    """Return a slice. A field is taken from the first holder that has it.

    Raises:
        DataError: if a field is missing or invalid.
    """

    def numbers(field: str, count: int) -> list[float] | None:
        value = _first(holders, field)
        if value is None:
            return None
        found = [float(number) for number in np.atleast_1d(value)]
        if len(found) != count or not np.isfinite(found).all():
            raise DataError(f"{file}: {name} has {field} {value}: expected {count} numbers; export the series again")
        return found

    position, orientation = numbers("ImagePositionPatient", 3), numbers("ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise DataError(f"{file}: tells no position of its slice: expected slices of an MR volume")
    directions = np.reshape(orientation, (2, 3))
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if np.abs(lengths - 1).max() > 1e-2 or np.linalg.norm(np.cross(*directions)) < 0.5:
        raise DataError(
            f"{file}: {name} has ImageOrientationPatient {orientation}: expected two directions; export it again"
        )
    spacing = numbers("PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise DataError(
            f"{file}: {name} has PixelSpacing {spacing or 'missing'}: expected two sizes above 0 mm; export it again"
        )
    size = (int(holders[-1].get("Columns") or 0), int(holders[-1].get("Rows") or 0))
    if min(size) < 1:
        raise DataError(f"{file}: {name} has {size[0]} x {size[1]} pixels: expected at least one; export it again")
    slope, intercept = numbers("RescaleSlope", 1) or [1.0], numbers("RescaleIntercept", 1) or [0.0]
    if slope[0] == 0:
        raise DataError(f"{file}: {name} has RescaleSlope 0, so that all voxels are alike: export the series again")
    thickness = numbers("SpacingBetweenSlices", 1) or numbers("SliceThickness", 1)
    return Frame(
        file,
        index,
        name,
        size,
        (spacing[1], spacing[0]),
        np.array(position),
        directions / lengths,
        abs(thickness[0]) if thickness else None,
        slope[0],
        intercept[0],
        max(int(holders[-1].BitsAllocated) // 8, 1),
        {word: _plain(value) for field, word in VARIANTS.items() if (value := _first(holders, field)) is not None},
    )


def _plain(value: Any) -> str:
    """Return a value as text, a number in one form: 2.980 is 2.98."""
    return f"{float(value):g}" if isinstance(value, int | float | Decimal) else str(value)


def _first(holders: Sequence["Dataset"], field: str) -> Any:
    """Return the value of a field in the first holder that has one, None if there is none."""
    values = (holder.get(field) for holder in holders)
    return next((value for value in values if value is not None and value != ""), None)


def check_alike(folder: Path, frames: Sequence[Frame]) -> None:
    """Check that slices have one orientation, one size and one spacing, and that frames show one thing.

    Raises:
        DataError: if they differ.
    """
    kinds: list[NDArray[np.float64]] = []
    for frame in frames:
        if all(np.abs(frame.directions - kind).max() > SAME_ORIENTATION for kind in kinds):
            kinds.append(frame.directions)
    if len(kinds) > 1:
        raise DataError(f"{folder}: its slices have {len(kinds)} orientations: expected one; is it a localiser?")
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
    if len({frame.file for frame in frames}) < len(frames) and (variants := variants_of(frames)):
        raise DataError(f"{folder}: holds several {variants}: expected one volume; export one at a time")


def variants_of(frames: Sequence[Frame]) -> str:
    """Return in which of VARIANTS slices differ, with the values; empty if in none."""
    values: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        for word, value in frame.variant.items():
            values[word].add(value)
    return ", ".join(f"{word} ({', '.join(sorted(found)[:5])})" for word, found in values.items() if len(found) > 1)


def slice_distance(folder: Path, frames: Sequence[Frame]) -> float:
    """Return the distance of slices in mm, and check that they lie straight above each other at even distances.

    Args:
        folder: path of the folder.
        frames: slices, ordered by position.

    Raises:
        DataError: if they do not, or if there is one slice and its header has no thickness.
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
        reason = f" ({variants})" if (variants := variants_of(frames)) else ""
        raise DataError(
            f"{folder}: holds several images of each slice{reason}: expected one volume; export one at a time"
        )
    if doubled:
        raise DataError(
            f"{folder}: {doubled[0][0].name} and {doubled[0][1].name} lie at the same position: is the slice there "
            "twice? Remove one of them"
        )
    sideways_mm = np.linalg.norm(positions - positions[0] - np.outer(along - along[0], first.normal), axis=1).max()
    if sideways_mm > SIDEWAYS_MM:
        raise DataError(
            f"{folder}: slices lie up to {sideways_mm:.1f} mm beside those below them, as of a tilted gantry: expected "
            "one straight upon the other; resample it"
        )
    usual = float(np.median(steps))
    odd = int(np.abs(steps - usual).argmax())
    if abs(steps[odd] - usual) > max(UNEVEN * usual, UNEVEN):
        guess = "missing" if steps[odd] > 1.5 * usual else "moved"
        raise DataError(
            f"{folder}: slices lie {usual:.2f} mm apart, but {frames[odd].name} and {frames[odd + 1].name} "
            f"{steps[odd]:.2f} mm: is one {guess}? Export the series again"
        )
    return float(along[-1] - along[0]) / (len(frames) - 1)
