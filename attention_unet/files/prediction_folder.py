"""Paths of the files in a folder of predictions."""

from collections.abc import Sequence
from pathlib import Path

from attention_unet.places import PLACES

ATTENTION, DICOM, PREVIEW = "attention", "dicom", "preview"
PROBABILITIES, UNCERTAINTY = "probabilities", "uncertainty"
GRAD_CAM = "grad-cam"
PARTS = (ATTENTION, DICOM, PREVIEW, PROBABILITIES, UNCERTAINTY, GRAD_CAM)  # folders beside the masks
MEASURES = ("entropy", "disagreement")  # measures of uncertainty


def prediction_path(output: Path, case: str, ending: str = ".nii.gz") -> Path:
    """Return the path of the label map of a case."""
    return output / f"{case}{ending}"


def structures_path(output: Path, case: str) -> Path:
    """Return the path of the file with names, colours and volumes of the labels of a case."""
    return output / f"{case}_labels.json"


def preview_path(output: Path, case: str) -> Path:
    """Return the path of the picture of a case."""
    return output / PREVIEW / f"{case}.jpg"


def segmentation_path(output: Path, case: str) -> Path:
    """Return the path of the DICOM segmentation of a case."""
    return output / DICOM / f"{case}.dcm"


def attention_path(output: Path, case: str, place: str) -> Path:
    """Return the path of the attention map of a case at a place of the network."""
    return output / ATTENTION / f"{case}_{place.replace(' ', '')}.nii.gz"


def grad_cam_path(output: Path, case: str, label: int) -> Path:
    """Return the path of the Grad-CAM map of a case and class; ``label`` is the integer of the class."""
    return output / GRAD_CAM / f"{case}_label{label}.nii.gz"


def probabilities_path(output: Path, case: str) -> Path:
    """Return the path of the probabilities of a case: (I, J, K, C)."""
    return output / PROBABILITIES / f"{case}.nii.gz"


def uncertainty_path(output: Path, case: str, measure: str) -> Path:
    """Return the path of an uncertainty map of a case."""
    return output / UNCERTAINTY / f"{case}_{measure}.nii.gz"


def possible_paths(output: Path, case: str, endings: Sequence[str]) -> list[Path]:
    """Return every path that the prediction of a case may write to, with a label map of any of these endings."""
    return [
        *(prediction_path(output, case, ending) for ending in endings),
        *(attention_path(output, case, place) for place in PLACES),
        *(uncertainty_path(output, case, measure) for measure in MEASURES),
        *(path(output, case) for path in (structures_path, preview_path, probabilities_path, segmentation_path)),
    ]
