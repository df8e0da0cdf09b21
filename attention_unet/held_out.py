"""The cases that a run held out, predicted and scored as a user would, for the report of a run."""

from pathlib import Path

from rich.console import Console

from attention_unet.data.cases import find_cases, locate_dataset
from attention_unet.data.plan import read_plan
from attention_unet.data.splits import held_out_cases
from attention_unet.data.subjects import read_subjects
from attention_unet.devices import choose_device
from attention_unet.evaluation.evaluate import check_output, evaluate_folder
from attention_unet.evaluation.focus import attended_cases, write_focus
from attention_unet.evaluation.scored import read_scored
from attention_unet.inference.model import load_model
from attention_unet.inference.output_folder import claim_output, describe, noted, origin
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.predict_volume import single_component_classes
from attention_unet.inference.settings import Settings
from attention_unet.inference.window_predictor import attended_levels
from attention_unet.lock import alone_in
from attention_unet.progress import counting
from attention_unet.run_folder import HELD_OUT, PLAN, SUBJECTS, places_of
from attention_unet.training.same_data import check_classes
from attention_unet.training.train import read_config

TOLERANCE_MM = 1.0


def evaluate_held_out(run: Path, root: str | None, device: str, console: Console) -> tuple[Path, dict[str, str]]:
    """Predict, with attention maps, and score what a run held out, except what is there already.

    Args:
        run: folder of the run.
        root: where its dataset is looked for; None: where the training found it.
        device: to compute on, by name.
        console: where to draw progress bars.

    Returns:
        Folder of the evaluation, and for each case that failed the reason.

    Raises:
        ConfigError: if its dataset is not there, or it held out no case.
        ModelError: if it holds no model.
    """
    dataset = find_cases(locate_dataset(root or places_of(run).get("data.root"), read_config(run).data.dataset))
    check_classes(read_plan(run / PLAN), dataset)
    chosen = held_out_cases(run, [case.id for case in dataset.cases])
    cases = [case for case in dataset.cases if case.id in chosen]
    subjects = read_subjects(run / SUBJECTS, chosen) if (run / SUBJECTS).is_file() else None
    check_output(run / HELD_OUT)
    folder, model = run / HELD_OUT, load_model(run, choose_device(device))
    output, settings = folder / "predictions", Settings(attention=True)
    same = noted(output).get("models_sha256") == [model.sha256]
    levels = attended_levels(model.network, model.plan, model.device)
    description = describe(
        model.plan.labels, [model.sha256], settings, single_component_classes([model], settings)
    ) | origin([model], levels, output)
    with alone_in(output):
        left = claim_output(
            output, cases[0].images[0], cases, description, settings.extras, resume=same, overwrite=not same
        )
        with counting(console, "predicting", len(left)) as done:
            failed = predict_files(left, output, [model], settings, done)
    with counting(console, "evaluating", len(cases)) as done:
        _, broken = evaluate_folder(
            output, cases, folder, labels=dataset.labels, tolerance_mm=TOLERANCE_MM, subjects=subjects, done=done
        )
    scored = read_scored(folder)
    with counting(console, "attention", len(attended_cases(scored))) as done:
        _, unread = write_focus(folder, scored, done)
    return folder, failed | broken | unread
