"""The cases that a run held out, predicted and scored as a user would, for the report of a run."""

from pathlib import Path

from attention_unet.dataset.cases import find_cases, locate_dataset
from attention_unet.dataset.splits import held_out_cases
from attention_unet.dataset.subjects import read_subjects
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.evaluation.result_files import check_results
from attention_unet.files.run_folder import HELD_OUT, PLAN, PREDICTIONS, SUBJECTS, read_paths
from attention_unet.inference.model import load_model
from attention_unet.inference.predict_folder import predict_cases
from attention_unet.inference.settings import Settings
from attention_unet.machine.devices import choose_device
from attention_unet.preparation.plan import read_plan
from attention_unet.scans.volumes import volumes_by_case
from attention_unet.training.same_data import check_classes
from attention_unet.training.train import read_config


def evaluate_held_out(run: Path, root: str | None, device: str) -> tuple[Path, dict[str, str]]:
    """Predict, with attention maps, and score what a run held out, except what is there already.

    Args:
        run: folder of the run.
        root: where its dataset is looked for; None: where the training found it.
        device: to compute on, by name.

    Returns:
        Folder of the evaluation, and for each case that failed the reason.

    Raises:
        ConfigError: if its dataset is not there, or it held out no case.
        ModelError: if it holds no model.
    """
    dataset = find_cases(locate_dataset(root or read_paths(run).get("data.root"), read_config(run).data.dataset))
    check_classes(read_plan(run / PLAN), dataset)
    chosen = held_out_cases(run, [case.id for case in dataset.cases])
    cases = [case for case in dataset.cases if case.id in chosen]
    subjects = read_subjects(run / SUBJECTS, chosen) if (run / SUBJECTS).is_file() else None
    folder, model = run / HELD_OUT, load_model(run, choose_device(device))
    check_results(folder)
    predictions = folder / PREDICTIONS
    failed = predict_cases([model], cases, predictions, Settings(attention=True), resume=True, overwrite=True)
    _, broken = evaluate_cases(cases, volumes_by_case(predictions), folder, dataset.labels, subjects=subjects)
    return folder, failed | broken
