"""The checks of a run's attention, on some of the cases that it held out; the report of the run shows them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attention_unet.dataset.cases import Case
from attention_unet.dataset.splits import read_split
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.rows import from_csv, mean_dice
from attention_unet.explanation.alteration import possible
from attention_unet.explanation.checks import CaseChecks, Others, check_case, steps_a_case, templates_of
from attention_unet.explanation.findings import summarise_findings
from attention_unet.explanation.randomisation import randomised
from attention_unet.files.atomic import write_text
from attention_unet.files.run_folder import EXPLANATION, SPLIT
from attention_unet.inference.model import Model, load_model
from attention_unet.machine.devices import choose_device
from attention_unet.machine.progress import progress_bar
from attention_unet.training.held_out import evaluate_held_out


def explain_run(
    run: Path, second: Path | None, most: int, root: str | None, device: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Predict and score what a run held out, check some of it, write ``explanation.json`` beside the scores.

    Args:
        run: folder of the run.
        second: folder of the same training with another seed, to compare maps with; None if there is none.
        most: cases to check, evenly from the worst to the best.
        root: where its dataset is looked for; None: where the training found it.
        device: to compute on, by name.

    Returns:
        The findings, and for each case that failed the reason.

    Raises:
        ConfigError: if its dataset is not there, it held out no case, or the second run did not hold out the same ones.
        ModelError: if it holds no model.
        DataError: if no case could be scored.
    """
    other = _second_model(run, second, device) if second else None
    folder, failed = evaluate_held_out(run, root, device)
    scored, model = read_evaluated_files(folder), load_model(run, choose_device(device))
    rows = from_csv(folder / "metrics.csv")
    ranked = [case for case in mean_dice(rows) if case in scored.predicted]
    subjects = {row.case: row.subject for row in rows}
    if not ranked:
        raise DataError(f"{folder}: no case could be scored: nothing to check")
    chosen = np.unique(np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int))
    cases = [Case(ranked[i], tuple(scored.images[ranked[i]]), scored.references[ranked[i]]) for i in chosen]
    attends = bool(possible(model.network))
    others = Others([randomised(model, seed) for seed in range(2)] if attends else [], other, {})
    checks: list[CaseChecks] = []
    with progress_bar("checking", len(cases) * (steps_a_case(model, others) + 1)) as done:
        for case in cases if attends else ():
            try:
                others.templates[case.id] = templates_of(model, case)
            except DataError as error:
                failed[case.id] = str(error)
            done()
        for seed, case in enumerate(cases):
            if case.id in failed:
                continue
            try:
                found = check_case(model, others, case, scored.predicted[case.id].parent, seed, done)
                checks.append(replace(found, subject=subjects[case.id]))
            except DataError as error:
                failed[case.id] = str(error)
    findings = summarise_findings(checks, model.sha256)
    write_text(folder / EXPLANATION, json.dumps(findings, indent=1, allow_nan=False) + "\n")
    return findings, failed


def _second_model(run: Path, second: Path, device: str) -> Model:
    """The model of a second training, which must have held out what the first did.

    Raises:
        ConfigError: if it did not.
        ModelError: if it is no run, or its network is another.
    """
    model = load_model(second, choose_device(device))
    held_out, theirs = (set(read_split(folder / SPLIT).validation) for folder in (run, second))
    if held_out - theirs:
        raise ConfigError(
            f"{second}: did not hold out {first_few(held_out - theirs)}, which {run} did: expected the same fold"
        )
    return model
