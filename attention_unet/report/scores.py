"""Collect the scores of an evaluation for the report, as plain values."""

import math
from pathlib import Path
from typing import Any

from attention_unet.evaluation.calibration import BINS, CALIBRATION, read_bins
from attention_unet.evaluation.evaluated_files import ADVICE
from attention_unet.evaluation.metrics import METRICS
from attention_unet.evaluation.rows import mean_dice, read_metrics
from attention_unet.evaluation.structure_attention import ATTENTION_CSV, mean_attention, read_attention
from attention_unet.files.json_file import parse_object
from attention_unet.scans.label_table import colour_of
from attention_unet.scans.labels import FOREGROUND, Labels

SHOWN_OF_METRICS = ("heading", "digits", "meaning", "lower_is_better")
SHOWN = ("classes", "foreground", "foreground_mean", "mean_of_classes", "n_cases", "failed", "warnings", "settings")


def describe_scores(evaluation: Path, labels: Labels) -> dict[str, Any]:
    """Return metrics of all cases, the worst first, their summary, attention and, if measured, calibration.

    Raise DataError if a file of the evaluation is missing or damaged.
    """
    rows = read_metrics(evaluation / "metrics.csv")
    dice = mean_dice(rows)
    order = [*dice, *dict.fromkeys(row.case for row in rows if row.case not in dice)]
    scores: dict[str, dict[str, dict[str, float | str | None]]] = {case: {} for case in order}
    for row in rows:
        scores[row.case][row.class_name] = {name: to_json_number(getattr(row.metrics, name)) for name in METRICS}
    return {
        "metrics": [
            {"name": name, **{field: getattr(metric, field) for field in SHOWN_OF_METRICS}}
            for name, metric in METRICS.items()
        ],
        "classes": [{"name": name, "colour": colour_of(i)} for i, name in enumerate(labels.names)],
        "foreground": FOREGROUND if any(row.class_name == FOREGROUND for row in rows) else None,
        "summary": parse_object(evaluation / "summary.json", lambda plain: {key: plain[key] for key in SHOWN}, ADVICE),
        "cases": [{"case": case, "mean_dice": dice.get(case), "scores": scores[case]} for case in order],
        "attention": [
            {"place": place, "class": name, **mean}
            for (place, name), mean in mean_attention(read_attention(evaluation / ATTENTION_CSV)).items()
        ],
        "calibration_bins": BINS,
        "calibration": read_bins(evaluation / CALIBRATION),
    }


def to_json_number(value: float) -> float | str | None:
    """Return a number for JSON: None for NaN, "inf" for infinity."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf"
