"""How a folder of predictions is laid out: all that prediction, which writes it, and evaluation share."""

import os
from pathlib import Path

from attention_unet.data.volumes import ENDINGS
from attention_unet.errors import DataError
from attention_unet.json_file import read_object

DESCRIPTION = "run.json"
ATTENTION, PREVIEW, PROBABILITIES, UNCERTAINTY = "attention", "preview", "probabilities", "uncertainty"
GRAD_CAM = "grad-cam"
PARTS = (ATTENTION, PREVIEW, PROBABILITIES, UNCERTAINTY, GRAD_CAM)  # folders beside the masks
MEASURES = ("entropy", "disagreement")
MOST_LEVELS = 16  # of a network
PREDICTIONS = "predictions"  # folder of the predictions of what a run held out


def prediction_path(output: Path, case: str, ending: str = ".nii.gz") -> Path:
    """Where the prediction of a case lies."""
    return output / f"{case}{ending}"


def sidecar_path(output: Path, case: str) -> Path:
    """Where it is told what the labels of a prediction mean."""
    return output / f"{case}_labels.json"


def preview_path(output: Path, case: str) -> Path:
    """Where the picture of a case lies."""
    return output / PREVIEW / f"{case}.png"


def attention_path(output: Path, case: str, level: int) -> Path:
    """Where the attention map of a case and level lies."""
    return output / ATTENTION / f"{case}_level{level}.nii.gz"


def seen_from(folder: Path, path: Path) -> str:
    """A path as files in a folder name it, so that all may be moved together; as it is if it lies on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def attention_levels(output: Path, case: str) -> list[int]:
    """Levels of which there is an attention map of a case, the finest first."""
    return [level for level in range(MOST_LEVELS) if attention_path(output, case, level).is_file()]


def grad_cam_path(output: Path, case: str, label: int) -> Path:
    """Where Grad-CAM of a case lies, of the class that an integer marks."""
    return output / GRAD_CAM / f"{case}_label{label}.nii.gz"


def probabilities_path(output: Path, case: str) -> Path:
    """Where the probabilities of a case lie, a volume of the file for each channel."""
    return output / PROBABILITIES / f"{case}.nii.gz"


def uncertainty_path(output: Path, case: str, measure: str) -> Path:
    """Where a map of the uncertainty of a case lies."""
    return output / UNCERTAINTY / f"{case}_{measure}.nii.gz"


def possible_paths(output: Path, case: str) -> list[Path]:
    """Every path that the prediction of a case may write to."""
    masks = [prediction_path(output, case, ending) for ending in ENDINGS]
    maps = [attention_path(output, case, level) for level in range(MOST_LEVELS)]
    measures = [uncertainty_path(output, case, measure) for measure in MEASURES]
    return [
        *masks,
        *maps,
        *measures,
        *(path(output, case) for path in (sidecar_path, preview_path, probabilities_path)),
    ]


def is_complete(output: Path) -> bool:
    """Return whether a prediction into a folder came to its end; cases may have failed."""
    try:
        return read_object(output / DESCRIPTION).get("complete") is True
    except DataError:
        return False
