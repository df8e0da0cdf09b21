"""Write a label map as a DICOM segmentation (SEG) that refers to the slices of its series."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attention_unet.errors import ConfigError, DataError
from attention_unet.files.atomic import replacing
from attention_unet.files.csv_text import parse_table
from attention_unet.scans.dicom import series_files
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import Volume

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code as DicomCode

OWN_SCHEME = "99ATTENTIONUNET"  # DICOM: names of private coding schemes start with 99
SERIES_NUMBER = 1000  # scanners count from 1
TEXT_LENGTH = 64  # of names and meanings, at most, in DICOM


@dataclass(frozen=True)
class Code:
    """A coded term of DICOM: such as scheme SCT (SNOMED CT), value 5366008, meaning "Hippocampus"."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class SegmentCode:
    """What a segment is.

    Attributes:
        kind: what it shows, such as the hippocampus.
        category: what kind of thing this is.
    """

    kind: Code
    category: Code = Code("SCT", "91723000", "Anatomical Structure")


def read_codes(path: Path) -> dict[str, SegmentCode]:
    """Read a table of codes: ``class``, ``scheme``, ``value``, ``meaning``, and the same three of the ``category``.

    Raises:
        DataError: if the table cannot be read, or lacks a column or a value.
    """

    def build(row: dict[str, str]) -> tuple[str, SegmentCode]:
        texts = [row[name].strip() for name in ("scheme", "value", "meaning")]
        category = [row.get(f"category_{name}", "").strip() for name in ("scheme", "value", "meaning")]
        if not all(texts) or any(category) != all(category):
            raise ValueError(f"the row of {row['class']} lacks a scheme, value or meaning")
        kind = Code(*texts)
        return row["class"], SegmentCode(kind, Code(*category)) if any(category) else SegmentCode(kind)

    advice = (
        "expected columns, separated by commas: class, scheme, value, meaning, such as Anterior,SCT,5366008,Hippocampus"
    )
    return dict(parse_table(path, build, "codes", advice))


def check_codes(labels: Labels, codes: Mapping[str, SegmentCode]) -> None:
    """Check that segmentations can be written for these classes.

    Raises:
        ConfigError: if highdicom is not installed, or the codes are not those of the classes.
    """
    if find_spec("highdicom") is None:
        raise ConfigError("--dicom-seg needs highdicom, which is not installed: pip install 'attention-unet[dicom]'")
    if codes and set(codes) != set(labels.names):
        raise ConfigError(f"codes are given for {', '.join(codes)}: expected one for each of {', '.join(labels.names)}")


def write_segmentation(
    path: Path, label_map: NDArray[np.unsignedinteger], volume: Volume, labels: Labels, codes: Mapping[str, SegmentCode]
) -> None:
    """Write a label map as a segmentation of one segment for each class, on the slices of the series.

    The file holds name, birth date and identifiers of the patient, as the series does.

    Args:
        path: path of the file.
        label_map: voxels (I, J, K).
        volume: the scan; its path is the folder of a DICOM series.
        labels: the classes.
        codes: codes by class; if empty, they get codes of a private scheme.

    Raises:
        DataError: if the headers of the series lack what a segmentation refers to.
    """
    import highdicom as hd
    from pydicom import dcmread

    from attention_unet import __version__

    source = [dcmread(file, force=True, stop_before_pixels=True) for file in series_files(volume.path)]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    axes = [2, 1, 0]  # slices, rows, columns
    try:
        segments = hd.Volume(
            _by_segment(label_map.transpose(axes), labels),
            lps[:, [*axes, 3]],
            coordinate_system="PATIENT",
            frame_of_reference_uid=str(source[0].FrameOfReferenceUID),
            channels={"SegmentNumber": range(1, len(labels.names) + 1)} if labels.overlapping else None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty mask is no mistake
            segmentation = hd.seg.Segmentation(
                source_images=source,
                pixel_array=segments,
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
            f"{volume.path}: a DICOM segmentation cannot refer to it ({error}): expected complete headers; export the "
            "series again, or predict without --dicom-seg"
        ) from error
    with replacing(path) as partial:
        segmentation.save_as(partial)


def _by_segment(label_map: NDArray[np.unsignedinteger], labels: Labels) -> NDArray[np.uint8]:
    """Return segment numbers, 0 for background; of overlapping classes a mask for each, as the last axis."""
    if not labels.overlapping:
        return labels.index(label_map)
    return np.stack([np.isin(label_map, group) for group in labels.integers.values()], axis=-1).astype(np.uint8)


def _describe(labels: Labels, index: int, codes: Mapping[str, SegmentCode]) -> "SegmentDescription":
    """Describe a segment: number, name, codes and colour."""
    import highdicom as hd

    from attention_unet import __version__

    name, value = labels.names[index], labels.painted[index]
    code = codes.get(name, SegmentCode(Code(OWN_SCHEME, str(value), name[:TEXT_LENGTH])))
    return hd.seg.SegmentDescription(
        segment_number=index + 1,
        segment_label=name[:TEXT_LENGTH],
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
