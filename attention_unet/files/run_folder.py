"""Names of files in a run folder that several folders of the package use."""

from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.files.json_file import read_object

CONFIG = "config.yaml"  # complete, with planned values filled in
PATHS = "paths.json"  # of dataset, cache and the model to start from, relative to the run folder
PLAN = "plan.json"
SPLIT = "splits.json"
SUBJECTS = "subjects.csv"  # person of each case
HISTORY = "history.csv"  # one row per validation
VALIDATIONS = "validations.csv"  # Dice of each case and class in each validation
WEIGHTS = "model.safetensors"
MODEL_DESCRIPTION = "model.json"  # of the weights, to be read by people
CURVES = "curves.png"  # learning curves
SLICES = "slices.png"  # of example cases
WRITTEN = (CONFIG, PATHS, PLAN, SPLIT, SUBJECTS, HISTORY, VALIDATIONS, MODEL_DESCRIPTION, CURVES, SLICES)  # by train
PREDICTIONS = "predictions"  # of held-out cases
HELD_OUT = "held-out"  # the evaluation of held-out cases
REPORT = "report.html"
EXPLANATION = "explanation.json"  # results of explain
PATH_NAMES = ("data.root", "data.cache", "training.start_from")  # keys of paths.json: fields of the configuration


def holds_paths(run: Path) -> bool:
    """Return whether a folder has a ``paths.json`` that a training wrote."""
    try:
        return set(read_object(run / PATHS)) <= set(PATH_NAMES)
    except DataError:
        return False


def read_paths(run: Path) -> dict[str, str]:
    """Return paths of a run by their configuration fields: dataset, cache, model to start from.

    Those of cache and model are left out if they no longer exist. That of the dataset never is: other data could be
    taken in its place.
    """
    try:
        paths = read_object(run / PATHS)
    except DataError:
        return {}
    values = {name: paths.get(name) for name in PATH_NAMES}
    found = {name: run / path for name, path in values.items() if isinstance(path, str) and "\0" not in path}
    return {name: str(path) for name, path in found.items() if name == "data.root" or path.exists()}
