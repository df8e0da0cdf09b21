"""Claim a run folder for a training: it must be free, or hold the run to resume."""

from pathlib import Path

from attention_unet.errors import ConfigError, first_few
from attention_unet.files.run_folder import CONFIG, WEIGHTS, WRITTEN, holds_paths
from attention_unet.training.checkpoint import STATE, TrainingState, load_state


def claim_folder(run: Path, resume: bool) -> TrainingState | None:
    """Return the saved state of the run to resume; None for a new run. Raise ConfigError if the folder does not fit."""
    if not resume:
        for name in (STATE, WEIGHTS):
            if (run / name).exists():
                advice = "continue it with --resume, or " if name == STATE else ""
                raise ConfigError(f"{run}: already has a run ({name}): {advice}choose another folder with --run")
        others = [name for name in WRITTEN if (run / name).exists()]
        if others and not holds_paths(run):  # the first file that a training writes
            raise ConfigError(
                f"{run}: has {first_few(others)}, not written by a training: choose another folder with --run"
            )
        return None
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run}: not a run folder: expected the folder of a training, with its {CONFIG}; check --run")
    if (run / WEIGHTS).exists() and not (run / STATE).exists():
        raise ConfigError(f"{run}: has a model, but no {STATE} to continue from: restore it, or choose a new --run")
    return load_state(run / STATE) if (run / STATE).exists() else None
