"""Check the attention of a run on some of its held-out cases; the report of the run shows the findings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_unet.dataset.splits import read_split
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.rows import mean_dice, read_metrics
from attention_unet.explanation.checks import CaseChecks, Controls, check_case, count_steps, predict_common_maps
from attention_unet.explanation.findings import summarise_findings
from attention_unet.explanation.randomisation_test import randomise_weights
from attention_unet.files.json_file import write_json
from attention_unet.files.run_folder import EXPLANATION, SPLIT
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.machine.devices import choose_device
from attention_unet.machine.memory import out_of_memory
from attention_unet.machine.progress import progress_bar
from attention_unet.preparation.fingerprint import evenly_spaced
from attention_unet.training.held_out import evaluate_held_out


def explain_run(
    run: Path, second: Path | None, most: int, root: str | None, device: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Evaluate the held-out cases of a run, check some of them, and write ``explanation.json`` beside the scores.

    ``second`` is the folder of the same training with another seed, to compare maps with. ``most`` cases are checked,
    at equal steps from the worst to the best. ``root`` is the folder of the dataset; None for the one that the training
    used. Return the findings; and the reason by case, for cases that failed.

    Raise ConfigError if the second run did not hold out the same cases or has other classes, channels or attention,
    DataError if no case could be scored, and the errors of ``evaluate_held_out``.
    """
    second_model = _load_second_model(second, run, device) if second else None
    folder, failed = evaluate_held_out(run, root, device)
    files, model = read_evaluated_files(folder), load_model(run, choose_device(device))
    rows = read_metrics(folder / "metrics.csv")
    ranked = [case for case in mean_dice(rows) if case in files.predicted]
    if not ranked:
        raise DataError(f"{folder}: no held-out case could be scored: expected at least one; check images and labels")
    cases = [files.cases[name] for name in evenly_spaced(ranked, most)]
    attends = bool(model.network.attentions())
    random = [randomise_weights(model, seed) for seed in range(2)] if attends else []
    controls = Controls(random, second_model, {}, {row.case: row.subject for row in rows})
    checks: list[CaseChecks] = []
    with progress_bar("checking", len(cases) * (count_steps(model, controls) + 1)) as done:
        for case in cases if attends else ():
            with _noting_failure(failed, case.id, model):
                maps = predict_common_maps(model, case)
                if not all(weights.isnan().all() for weights in maps.values()):  # as of a scan without foreground
                    controls.maps[case.id] = maps
            done()
        for seed, case in enumerate(cases):
            if case.id not in failed:
                with _noting_failure(failed, case.id, model):
                    checks.append(check_case(model, controls, case, files.predicted[case.id].parent, seed, done))
    findings = summarise_findings(checks, model.sha256)
    write_json(folder / EXPLANATION, findings)
    return findings, failed


def _load_second_model(second: Path, run: Path, device: str) -> Model:
    """Load the model of a second training; it must be the training of a run with another seed."""
    first, model = (load_model(each, choose_device(device)) for each in (run, second))
    first_held_out, second_held_out = (set(read_split(folder / SPLIT).validation) for folder in (run, second))
    missing = first_held_out - second_held_out
    if missing:
        raise ConfigError(
            f"{second}: did not hold out {first_few(missing)}, which {run} held out: expected a run of the same fold"
        )
    if model.sha256 == first.sha256:
        raise ConfigError(f"{second}: is the same model as {run}: expected another training, such as of another seed")
    ours, theirs = (
        {"classes": plan.labels, "channels": plan.channels, "attention": plan.architecture.describe_attention()}
        for plan in (first.plan, model.plan)
    )
    if different := [name for name, value in ours.items() if theirs[name] != value]:
        raise ConfigError(
            f"{second}: has other {' and '.join(different)} than {run}: expected the same training with another seed"
        )
    return model


@contextmanager
def _noting_failure(failed: dict[str, str], case: str, model: Model) -> Iterator[None]:
    """Note why a case failed, so that the others are still checked."""
    try:
        yield
    except DataError as error:
        failed[case] = str(error)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        failed[case] = f"{case}: too large for the memory of {model.device}: explain with --device cpu"
