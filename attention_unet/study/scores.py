"""The scores of a cell, and the table that keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_unet.files.csv_text import csv_text, parse_table

METRICS = ("dice", "nsd", "hd95_mm")
NAN = float("nan")


@dataclass(frozen=True)
class Score:
    """Metrics of a class in a held-out case after a number of steps; NSD and HD95 only after the last step.

    Attributes:
        step: training step.
        case: id of the case.
        subject: the person.
        class_name: name of the class.
        dice: Dice, 0 to 1; NaN if reference and prediction are empty.
        nsd: normalised surface Dice, 0 to 1.
        hd95_mm: 95th percentile of the surface distances.
    """

    step: int
    case: str
    subject: str
    class_name: str
    dice: float
    nsd: float = NAN
    hd95_mm: float = NAN


def scores_to_csv(scores: Sequence[Score]) -> str:
    """Return the text of the table of scores."""
    cells = (
        [score.step, score.case, score.subject, score.class_name, *(f"{getattr(score, name):.6g}" for name in METRICS)]
        for score in scores
    )
    return csv_text([["step", "case", "subject", "class", *METRICS], *cells])


def read_scores(file: Path) -> list[Score]:
    """Read the scores of a cell.

    Raises:
        DataError: if they are damaged.
    """

    def build(row: Mapping[str, str]) -> Score:
        return Score(
            int(row["step"]), row["case"], row["subject"], row["class"], *(float(row[name]) for name in METRICS)
        )

    return parse_table(file, build, "results", f"remove it and {file.stem}.json, to run this training again")
