"""Names of files in the folder of a run that several rooms read; the others are named where they are written."""

from pathlib import Path

from attention_unet.errors import DataError
from attention_unet.json_file import read_object

CONFIG = "config.yaml"  # whole: what was left open is filled in
PLACES = "places.json"  # folders of the machine it was trained on, as seen from here
PLAN = "plan.json"
SPLIT = "splits.json"
HISTORY = "history.csv"  # a row a validation
HELD_OUT = "held-out"  # the evaluation of the cases held out, in which
REPORT = "report.html"
EXPLANATION = "explanation.json"  # what explain found


def place_of_data(run: Path) -> str | None:
    """Folder of the datasets that a run was trained on, if it was told one and that is still there."""
    try:
        told = read_object(run / PLACES).get("data.root")
    except DataError:
        return None
    folder = run / told if isinstance(told, str) and "\0" not in told else None
    return str(folder) if folder and folder.is_dir() else None
