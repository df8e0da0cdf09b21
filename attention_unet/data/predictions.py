"""How a folder of predictions is laid out: all that prediction, which writes it, and evaluation share."""

from pathlib import Path

DESCRIPTION = "run.json"
ATTENTION = "attention"


def prediction_path(output: Path, case: str) -> Path:
    """Where the prediction of a case lies."""
    return output / f"{case}.nii.gz"


def attention_path(output: Path, case: str, level: int) -> Path:
    """Where the attention map of a case and level lies."""
    return output / ATTENTION / f"{case}_level{level}.nii.gz"
