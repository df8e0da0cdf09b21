"""Read the slices of DICOM files from their headers."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
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
VARIANTS = {  # fields that differ between images of one slice; of those with one word, the last that is there counts
    "EchoTime": "echo times",
    "EffectiveEchoTime": "echo times",
    "TemporalPositionIdentifier": "time points",
    "TemporalPositionIndex": "time points",
    "DiffusionBValue": "b-values",
    "StackID": "stacks",
    "ImageType": "types of image",
    "FrameType": "types of image",
}


@dataclass(frozen=True)
class Frame:
    """One slice: a file of its own, or a frame of a multi-frame file."""

    file: Path
    index: int  # number of the frame in the file, from 0
    name: str  # in messages
    size: tuple[int, int]  # number of columns and rows
    spacing_mm: tuple[float, float]  # distance between columns and between rows
    position: NDArray[np.float64]  # (3,), centre of the first pixel in mm, LPS+
    directions: NDArray[np.float64]  # (2, 3), unit vectors along a row and along a column, LPS+
    thickness_mm: float | None  # distance to the next slice in the header; None if the header has none
    slope: float  # value = stored number * slope + intercept
    intercept: float
    stored_bytes: int  # of a number
    variant: Mapping[str, str]  # values of the fields VARIANTS

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice, LPS+."""
        across = np.cross(*self.directions)
        return across / np.linalg.norm(across)


@contextmanager
def report_damage(file: Path) -> Iterator[None]:
    """Raise DataError with the name of a file for all errors but MemoryError. Silence warnings, which lack the name."""
    from pydicom import config

    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except (DataError, MemoryError):
        raise
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}): check your rights and free space") from error
    except Exception as error:  # pydicom raises errors of a dozen types for damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise DataError(
            f"{file.parent}: {file.name} cannot be read ({reason}): is it cut short? Export the series again"
        ) from error


def frames_in(file: Path, header: "Dataset") -> list[Frame]:
    """Return the slices of a file: one, or one per frame.

    Raise DataError for a colour image, a mosaic, frames without positions, and fields that are missing or invalid.
    """
    with report_damage(file):
        colour = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        if int(header.get("SamplesPerPixel") or 1) != 1 or not colour.startswith("MONOCHROME"):
            raise DataError(f"{file}: is a colour image ({colour}): expected a grey image; export the original images")
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
                f"{file}: has {count} frames, but positions for {len(items)}: expected an enhanced multi-frame file or "
                "one file per slice; convert it with dcm2niix"
            )
        shared = _group_contents(*(header.get("SharedFunctionalGroupsSequence") or [])[:1])
        if not items:
            return [_make_frame(file, 0, file.name, [header])]
        return [
            _make_frame(file, i, f"frame {i + 1} of {file.name}", [*_group_contents(item), *shared, header])
            for i, item in enumerate(items)
        ]


def _group_contents(*items: "Dataset") -> list["Dataset"]:
    """Return the contents of the functional groups of items."""
    return [item[name][0] for item in items for name in FUNCTIONAL_GROUPS if item.get(name)]


def _make_frame(file: Path, index: int, name: str, holders: Sequence["Dataset"]) -> Frame:
    """Return a slice. A field is taken from the first holder that has it."""

    def numbers(field: str, count: int) -> list[float] | None:
        value = _first_value(holders, field)
        if value is None:
            return None
        parsed = [float(number) for number in np.atleast_1d(value)]
        if len(parsed) != count or not np.isfinite(parsed).all():
            raise DataError(f"{file}: {name} has {field} {value}: expected {count} numbers; export the series again")
        return parsed

    position, orientation = numbers("ImagePositionPatient", 3), numbers("ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise DataError(
            f"{file}: {name} has no ImagePositionPatient or no ImageOrientationPatient: expected slices of an MR "
            "volume; export the series again"
        )
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
        raise DataError(f"{file}: {name} has RescaleSlope 0: expected another number; export the series again")
    sizes = [numbers(field, 1) for field in ("SpacingBetweenSlices", "SliceThickness")]
    thickness = next((abs(size[0]) for size in sizes if size and size[0]), None)
    return Frame(
        file,
        index,
        name,
        size,
        (spacing[1], spacing[0]),
        np.array(position),
        directions / lengths,
        thickness,
        slope[0],
        intercept[0],
        max(int(holders[-1].BitsAllocated) // 8, 1),
        {  # equal numbers give equal texts: 2.980 becomes 2.98
            word: f"{float(value):g}" if isinstance(value, int | float | Decimal) else str(value)
            for field, word in VARIANTS.items()
            if (value := _first_value(holders, field)) is not None
        },
    )


def _first_value(holders: Sequence["Dataset"], field: str) -> Any:
    """Return the value of a field in the first holder that has it. Return None if no holder has it."""
    values = (holder.get(field) for holder in holders)
    return next((value for value in values if value is not None and value != ""), None)
