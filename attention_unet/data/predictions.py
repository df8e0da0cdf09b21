"""How a folder of predictions is laid out: all that prediction, which writes it, and evaluation share."""

import json
from pathlib import Path
from typing import Any

DESCRIPTION = "run.json"
ATTENTION = "attention"
PREDICTED = "predicted.json"  # in the folder of a fold of a cross-validation, once it is trained


def prediction_path(output: Path, case: str) -> Path:
    """Where the prediction of a case lies."""
    return output / f"{case}.nii.gz"


def attention_path(output: Path, case: str, level: int) -> Path:
    """Where the attention map of a case and level lies."""
    return output / ATTENTION / f"{case}_level{level}.nii.gz"


def how_predicted(fold: Path) -> dict[str, Any]:
    """How the cases that a fold held out were predicted, and whether all were tried: if so, it is done."""
    file = fold / PREDICTED
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {"complete": False}
