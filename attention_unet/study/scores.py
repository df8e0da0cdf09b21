"""The scores of a cell, and the table that keeps them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from attention_unet.errors import DataError
from attention_unet.files.csv_text import csv_text, parse_table

VALIDATION, PREDICTION = "validation", "prediction"
METRICS = ("dice", "nsd", "hd95_mm", "reference_ml")
NAN = float("nan")
Key = TypeVar("Key")


@dataclass(frozen=True)
class Score:
    """Metrics of a class in a held-out case: of a validation during the training, or of the prediction after it.

    Attributes:
        stage: "validation" or "prediction". A validation has only Dice, and keeps small components.
        step: training step.
        case: id of the case.
        subject: the person.
        class_name: name of the class.
        dice: Dice, 0 to 1; NaN if reference and prediction are empty.
        nsd: normalised surface Dice, 0 to 1.
        hd95_mm: 95th percentile of the surface distances.
        reference_ml: volume of the reference.
    """

    stage: str
    step: int
    case: str
    subject: str
    class_name: str
    dice: float
    nsd: float = NAN
    hd95_mm: float = NAN
    reference_ml: float = NAN


def scores_to_csv(scores: Sequence[Score]) -> str:
    """Return the text of the table of scores."""
    rows = (
        [score.stage, score.step, score.case, score.subject, score.class_name, *metric_texts(score)] for score in scores
    )
    return csv_text([["stage", "step", "case", "subject", "class", *METRICS], *rows])


def metric_texts(score: Score) -> list[str]:
    """Return the metrics of a score with six digits."""
    return [f"{getattr(score, name):.6g}" for name in METRICS]


def read_scores(file: Path) -> list[Score]:
    """Read the scores of a cell.

    Raises:
        DataError: if they are damaged, out of range or repeated.
    """

    def build(row: Mapping[str, str]) -> Score:
        dice, nsd, hd95, volume = (float(row[name]) for name in METRICS)
        if row["stage"] not in (VALIDATION, PREDICTION):
            raise ValueError(f"the stage {row['stage']}: expected {VALIDATION} or {PREDICTION}")
        if not (_unknown_or(dice, 1) and _unknown_or(nsd, 1) and _unknown_or(hd95, math.inf)):
            raise ValueError(f"Dice {dice:g}, NSD {nsd:g}, HD95 {hd95:g} of {row['case']}: one is out of range")
        return Score(row["stage"], int(row["step"]), row["case"], row["subject"], row["class"], dice, nsd, hd95, volume)

    advice = f"remove it and {file.stem}.json, to run this training again"
    scores = parse_table(file, build, "results", advice)
    if not any(score.stage == PREDICTION for score in scores):
        raise DataError(f"{file}: has no scores of predictions: {advice}")
    if len({(score.stage, score.step, score.case, score.class_name) for score in scores}) < len(scores):
        raise DataError(f"{file}: has scores of the same case and class twice: {advice}")
    return scores


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


def validation_steps(scores: Iterable[Score]) -> list[int]:
    """Return the steps of the validations, in order."""
    return sorted({score.step for score in scores if score.stage == VALIDATION})


def dice_at_step(scores: Sequence[Score], step: float) -> dict[str, float]:
    """Return the Dice of each person at a step, between two validations on the line through both.

    It is empty before the first validation and after the last.
    """
    steps = validation_steps(scores)
    before, after = [s for s in steps if s <= step], [s for s in steps if s >= step]
    if not before or not after:
        return {}
    low, high = (
        person_dice(score for score in scores if score.stage == VALIDATION and score.step == at)
        for at in (before[-1], after[0])
    )
    share = (step - before[-1]) / max(after[0] - before[-1], 1)
    return {person: (1 - share) * low[person] + share * high[person] for person in low}


def _structure(score: Score) -> tuple[str, str, str]:
    return score.stage, score.case, score.class_name


def _unknown_or(value: float, most: float) -> bool:
    return math.isnan(value) or 0 <= value <= most
