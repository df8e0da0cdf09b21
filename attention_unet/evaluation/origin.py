"""Where predictions come from: the runs behind them, and whether these were trained on what they are scored on."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from attention_unet.data.splits import read_split
from attention_unet.errors import UserError
from attention_unet.inference.model import DESCRIPTION
from attention_unet.inference.output_folder import noted
from attention_unet.json_file import read_object
from attention_unet.run_folder import CONFIG, SPLIT

log = logging.getLogger(__name__)


def runs_behind(evaluation: Path, predictions: Path) -> list[Path]:
    """Folders of the runs that made what was scored: the folds of a cross-validation, each of which predicted
    what it held out, or those of which prediction noted the models.
    """
    return sorted(file.parent for file in evaluation.glob(f"fold*/{CONFIG}")) or runs_of(predictions)


def runs_of(predictions: Path) -> list[Path]:
    """Folders of the runs that made all of some predictions, if they still hold the same models."""
    told = noted(predictions)
    runs = []
    for name, sha256 in zip(told.get("models", []), told.get("models_sha256", []), strict=False):
        run = (predictions / name).parent
        if _sha256_of(run) == sha256:
            runs.append(run)
        elif (run / CONFIG).is_file():
            log.warning("warning: %s: holds another model than the one that made the predictions: left out", run)
    return runs


def trained_on(runs: Sequence[Path], cases: Collection[str]) -> list[str]:
    """Those of the cases that a run was trained on, as far as its folder tells."""
    known: set[str] = set()
    for run in runs:
        try:
            known.update(read_split(run / SPLIT).training)
        except UserError:
            continue
    return [case for case in cases if case in known]


def _sha256_of(run: Path) -> str | None:
    try:
        return str(read_object(run / DESCRIPTION).get("sha256"))
    except UserError:
        return None
