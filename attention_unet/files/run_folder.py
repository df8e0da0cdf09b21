"""Names of files in the folder of a run that several rooms read; the others are named where they are written."""

from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.files.json_file import read_object

CONFIG = "config.yaml"  # whole: what was left open is filled in
PATHS = "places.json"  # folders of the machine it was trained on, as seen from here
PLAN = "plan.json"
SPLIT = "splits.json"
SUBJECTS = "subjects.csv"  # which cases are of one person
HISTORY = "history.csv"  # a row a validation
WEIGHTS = "model.safetensors"
MODEL_DESCRIPTION = "model.json"  # of the weights, for people
PREDICTIONS = "predictions"  # of held-out cases
HELD_OUT = "held-out"  # the evaluation of held-out cases
REPORT = "report.html"
EXPLANATION = "explanation.json"  # what explain found


def read_paths(run: Path) -> dict[str, str]:
    """Folders that a run was told, by the field of its configuration, as far as they are still there."""
    try:
        told = read_object(run / PATHS)
    except DataError:
        return {}
    known = {name: told.get(name) for name in ("data.root", "data.cache")}
    folders = {name: run / place for name, place in known.items() if isinstance(place, str) and "\0" not in place}
    return {name: str(folder) for name, folder in folders.items() if folder.is_dir()}
