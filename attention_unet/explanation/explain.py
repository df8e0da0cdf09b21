"""The checks of a run's attention, on some of the cases that it held out; the report of the run shows them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from attention_unet.atomic import write_text
from attention_unet.data.cases import Case
from attention_unet.devices import choose_device
from attention_unet.errors import DataError
from attention_unet.evaluation.rows import from_csv, mean_dice
from attention_unet.evaluation.scored import read_scored
from attention_unet.explanation.alteration import possible
from attention_unet.explanation.checks import CaseChecks, check_case, steps_a_case
from attention_unet.explanation.findings import tell_findings
from attention_unet.explanation.randomisation import STAGES, randomised
from attention_unet.held_out import evaluate_held_out
from attention_unet.inference.model import load_model
from attention_unet.progress import counting
from attention_unet.run_folder import EXPLANATION


def explain_run(
    run: Path, most: int, root: str | None, device: str, console: Console
) -> tuple[dict[str, Any], dict[str, str]]:
    """Predict and score what a run held out, check some of it, write ``explanation.json`` beside the scores.

    Args:
        run: folder of the run.
        most: cases to check, evenly from the worst to the best.
        root: where its dataset is looked for; None: where the training found it.
        device: to compute on, by name.
        console: where to draw progress bars.

    Returns:
        The findings, and for each case that failed the reason.

    Raises:
        ConfigError: if its dataset is not there, or it held out no case.
        ModelError: if it holds no model.
        DataError: if no case could be scored.
    """
    folder, failed = evaluate_held_out(run, root, device, console)
    scored, model = read_scored(folder), load_model(run, choose_device(device))
    ranked = list(mean_dice(from_csv(folder / "metrics.csv")))
    if not ranked:
        raise DataError(f"{folder}: no case could be scored: nothing to check")
    places = np.unique(np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int))
    strangers = {stage: randomised(model, stage) for stage in STAGES if possible(model.network)}
    checks: list[CaseChecks] = []
    with counting(console, "checking", len(places) * steps_a_case(model)) as done:
        for seed, name in enumerate(ranked[place] for place in places):
            case = Case(name, tuple(scored.images[name]), scored.references[name])
            try:
                checks.append(check_case(model, strangers, case, scored.predictions, seed, done))
            except DataError as error:
                failed[name] = str(error)
    findings = tell_findings(checks, model.sha256)
    write_text(folder / EXPLANATION, json.dumps(findings, indent=1, allow_nan=False) + "\n")
    return findings, failed
