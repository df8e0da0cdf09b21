"""The scores of a cell, and the table that keeps them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from attention_unet.files.csv_text import csv_text, parse_table

VALIDATION, PREDICTION = "validation", "prediction"
METRICS = ("dice", "nsd", "hd95_mm", "reference_ml")
HEAD = ("stage", "step", "case", "subject", "class", *METRICS)
NAN = float("nan")
NOT_FOUND = 0.05  # a structure is not found if its mean Dice, where it is present, is below this
Key = TypeVar("Key")


@dataclass(frozen=True)
class Score:
    """Metrics of a class in a held-out case: of a validation during the training, or of the prediction after it."""

    stage: str  # "validation" or "prediction"; a validation has only Dice, and keeps small components
    step: int  # of the training
    case: str  # id
    subject: str  # the person
    class_name: str
    dice: float  # 0 to 1; NaN if reference and prediction are empty
    nsd: float = NAN  # normalised surface Dice, 0 to 1
    hd95_mm: float = NAN  # 95th percentile of the surface distances
    reference_ml: float = NAN  # volume of the reference


def scores_to_csv(scores: Sequence[Score]) -> str:
    """Return the text of the table of scores."""
    return csv_text([HEAD, *map(row_of, scores)])


def row_of(score: Score) -> list[str | int]:
    """Return the cells of a score, metrics with six digits."""
    metrics = (f"{getattr(score, name):.6g}" for name in METRICS)
    return [score.stage, score.step, score.case, score.subject, score.class_name, *metrics]


def read_scores(file: Path) -> list[Score]:
    """Read the scores of a cell. Raise DataError if they are damaged."""

    def build(row: Mapping[str, str]) -> Score:
        numbers = (float(row[name]) for name in METRICS)
        return Score(row["stage"], int(row["step"]), row["case"], row["subject"], row["class"], *numbers)

    return parse_table(file, build, "results", f"remove it and {file.stem}.json, to run this training again")


def without_absent(results: Mapping[Key, Sequence[Score]]) -> dict[Key, list[Score]]:
    """Return scores without the structures that are absent from the reference and that none of the results has."""
    found = {_structure(score) for scores in results.values() for score in scores if not math.isnan(score.dice)}
    return {key: [score for score in scores if _structure(score) in found] for key, scores in results.items()}


def person_dice(scores: Iterable[Score]) -> dict[str, float]:
    """Return the mean Dice of each person over their cases of the mean over classes.

    Where reference and prediction are both empty, Dice counts as 1.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        dice = 1.0 if math.isnan(score.dice) else score.dice
        values.setdefault(score.subject, {}).setdefault(score.case, []).append(dice)
    return {
        person: float(np.mean([np.mean(dice) for dice in cases.values()])) for person, cases in sorted(values.items())
    }


def of_predictions(scores: Iterable[Score]) -> list[Score]:
    """Return the scores of predictions."""
    return [score for score in scores if score.stage == PREDICTION]


def final_dice(scores: Iterable[Score]) -> dict[str, float]:
    """Return the Dice of each person in the prediction after the last step."""
    return person_dice(of_predictions(scores))


def dice_where_present(scores: Iterable[Score]) -> dict[str, float]:
    """Return the mean Dice of each class in predictions, over the cases whose reference has it."""
    dice: dict[str, list[float]] = {}
    for score in of_predictions(scores):
        if not (math.isnan(score.dice) or score.reference_ml == 0):
            dice.setdefault(score.class_name, []).append(score.dice)
    return {name: float(np.mean(values)) for name, values in dice.items()}


def validation_steps(scores: Iterable[Score]) -> list[int]:
    """Return the steps of the validations, in order."""
    return sorted({score.step for score in scores if score.stage == VALIDATION})


def dice_at_step(scores: Sequence[Score], step: float) -> dict[str, float]:
    """Return the Dice of each person at a step, between two validations on the line through both.

    It is empty before the first validation and after the last.
    """
    steps = validation_steps(scores)
    if not steps or not steps[0] <= step <= steps[-1]:
        return {}
    dice = [person_dice(s for s in scores if s.stage == VALIDATION and s.step == at) for at in steps]
    return {person: float(np.interp(step, steps, [of_step[person] for of_step in dice])) for person in dice[0]}


def _structure(score: Score) -> tuple[str, str, str]:
    return score.stage, score.case, score.class_name
