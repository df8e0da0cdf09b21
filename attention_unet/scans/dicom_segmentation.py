"""Write a label map as a DICOM segmentation (SEG) that refers to the slices of its series."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attention_unet import __version__
from attention_unet.errors import ConfigError, DataError
from attention_unet.files.csv_text import parse_table
from attention_unet.scans.dicom import sorted_frames
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels, mask_of
from attention_unet.scans.volumes import Volume

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom import Dataset
    from pydicom.sr.coding import Code as DicomCode

OWN_SCHEME = "99ATTENTIONUNET"  # DICOM: names of private coding schemes start with 99
SERIES_NUMBER = 1000  # scanners count from 1
SHORT, LONG = 16, 64  # most characters of a scheme or value, and of a name or meaning, in DICOM
MAY_BE_EMPTY = (  # fields of type 2
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)


@dataclass(frozen=True)
class Code:
    """A coded term of DICOM: such as scheme SCT (SNOMED CT), value 5366008, meaning "Hippocampus"."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class SegmentCode:
    """What a segment is."""

    kind: Code  # what it shows, such as the hippocampus
    category: Code = Code("SCT", "91723000", "Anatomical Structure")  # what kind of thing this is


def read_codes(path: Path) -> dict[str, SegmentCode]:
    """Read a table of codes: ``class``, ``scheme``, ``value``, ``meaning``, and the same three of the ``category``.

    Raise DataError if the table cannot be read, or lacks a column or a value.
    """

    def build(row: dict[str, str]) -> tuple[str, SegmentCode]:
        texts = [row[name].strip() for name in ("scheme", "value", "meaning")]
        category = [row.get(f"category_{name}", "").strip() for name in ("scheme", "value", "meaning")]
        if not all(texts) or any(category) != all(category):
            raise ValueError(f"the row of {row['class']} lacks a scheme, value or meaning")
        for text, most in zip([*texts, *category], 2 * (SHORT, SHORT, LONG), strict=True):
            if len(text) > most:
                raise ValueError(f"{text!r} has {len(text)} characters, at most {most} are allowed")
        kind = Code(*texts)
        return row["class"].strip(), SegmentCode(kind, Code(*category)) if any(category) else SegmentCode(kind)

    advice = (
        "expected columns, separated by commas: class, scheme, value, meaning, such as Anterior,SCT,5366008,Hippocampus"
    )
    rows = parse_table(path, build, "codes", advice)
    codes = dict(rows)
    if not codes or len(codes) < len(rows):
        raise DataError(f"{path}: has {len(rows)} rows for {len(codes)} classes: expected one for each class")
    return codes


def check_codes(labels: Labels, codes: Mapping[str, SegmentCode]) -> None:
    """Raise ConfigError if highdicom is not installed, or the codes are not those of the classes."""
    if find_spec("highdicom") is None:
        raise ConfigError("--dicom-seg needs highdicom, which is not installed: pip install 'attention-unet[dicom]'")
    if codes and set(codes) != set(labels.names):
        raise ConfigError(f"codes are given for {', '.join(codes)}: expected one for each of {', '.join(labels.names)}")


def make_segmentation(
    label_map: NDArray[np.unsignedinteger], volume: Volume, labels: Labels, codes: Mapping[str, SegmentCode]
) -> "Segmentation":
    """Return a label map as a segmentation of one segment for each class, on the slices of the series.

    It holds name, birth date and identifiers of the patient, as the series does. Raise DataError if the headers of the
    series lack what a segmentation refers to.
    """
    import highdicom as hd

    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it warns of an empty mask, which is no mistake
    planes = _by_segment(label_map.transpose(2, 1, 0), labels)  # slices, rows, columns
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the series: they were given when it was read
            frames = sorted_frames(volume.path)
            files = list(dict.fromkeys(frame.file for frame in frames))
            if len(files) == 1:  # all slices in one file, in an order of its own
                planes = planes[np.argsort([frame.index for frame in frames])]
            headers = [_complete_header(file, volume) for file in files]
            for field, most in (("PatientID", 1), ("SOPInstanceUID", len(files))):
                if (count := len({str(header.get(field, "")) for header in headers})) != most:
                    text = f"its {len(files)} files have {count} {field}: expected {most}"
                    raise DataError(f"{volume.path}: {text}; export it again, or predict without --dicom-seg")
            return hd.seg.Segmentation(
                source_images=headers,
                pixel_array=planes,
                segmentation_type="BINARY",
                segment_descriptions=[_describe(labels, index, codes) for index in range(len(labels.names))],
                series_instance_uid=hd.UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="attention_unet",
                manufacturer_model_name="attention_unet",
                software_versions=__version__,
                device_serial_number="0",
                content_label="SEGMENTATION",
                series_description="Segmentation by attention_unet, not for diagnosis",
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{volume.path}: a DICOM segmentation cannot refer to it ({error}): expected complete and valid headers; "
            "repair them, or predict without --dicom-seg"
        ) from error


def _complete_header(file: Path, volume: Volume) -> "Dataset":
    """Read the header of a file, for names in any script. What may be empty, and is missing, becomes empty."""
    from pydicom import dcmread

    header = dcmread(file, force=True, stop_before_pixels=True)
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"  # UTF-8; that of the series may lack letters of the names of classes
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if "SliceThickness" not in header and "ImagePositionPatient" in header:
        header.SliceThickness = f"{volume.spacing_mm[2]:.8g}"
    return header


def _by_segment(label_map: NDArray[np.unsignedinteger], labels: Labels) -> NDArray[np.uint8]:
    """Return segment numbers, 0 for background; of overlapping classes a mask for each, as the last axis."""
    if not labels.overlapping:
        return labels.index(label_map)
    return np.stack([mask_of(label_map, group) for group in labels.integers.values()], axis=-1).astype(np.uint8)


def _describe(labels: Labels, index: int, codes: Mapping[str, SegmentCode]) -> "SegmentDescription":
    """Describe a segment: number, name, codes and colour."""
    import highdicom as hd

    name, value = labels.names[index], labels.painted[index]
    shown = " ".join(name.replace("\\", "/").split())[:LONG]  # a backslash separates values
    code = codes.get(name, SegmentCode(Code(OWN_SCHEME, str(value), shown)))
    return hd.seg.SegmentDescription(
        segment_number=index + 1,
        segment_label=shown,
        segmented_property_category=_coded(code.category),
        segmented_property_type=_coded(code.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            "attention_unet", _coded(Code("DCM", "123110", "Artificial Intelligence")), __version__
        ),
        display_color=hd.color.CIELabColor.from_string(colour_of(index)),
    )


def _coded(code: Code) -> "DicomCode":
    from pydicom.sr.coding import Code as DicomCode

    return DicomCode(code.value, code.scheme, code.meaning)
