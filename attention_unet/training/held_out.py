"""Predict and evaluate the held-out cases of a run, as a user would."""

from dataclasses import replace
from pathlib import Path

from attention_unet.dataset.cases import locate_dataset
from attention_unet.dataset.find_dataset import find_readable_dataset
from attention_unet.dataset.splits import read_held_out
from attention_unet.dataset.subjects import read_subjects
from attention_unet.errors import DataError
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.evaluation.evaluated_files import check_results
from attention_unet.files.lock import folder_lock
from attention_unet.files.run_folder import HELD_OUT, PLAN, PREDICTIONS, SUBJECTS, read_paths
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_folder import predict_cases
from attention_unet.inference.settings import Settings
from attention_unet.machine.devices import choose_device
from attention_unet.preparation.plan import read_plan
from attention_unet.scans.volume_files import volumes_by_case
from attention_unet.training.same_data import check_classes
from attention_unet.training.train import read_config


def evaluate_held_out(run: Path, root: str | None, device: str) -> tuple[Path, dict[str, str]]:
    """Predict the held-out cases of a run with attention maps, and evaluate them. Existing predictions are kept.

    Returns:
        Folder of the evaluation, and the reason for each case that failed.

    Raises:
        ConfigError: if the dataset is missing, or the run held out no case.
        DataError: if the dataset is faulty, has other classes or no complete held-out case, or the folder cannot be
            written to.
        ModelError: if the run folder has no model.
    """
    data = replace(read_config(run).data, root=root or read_paths(run).get("data.root"))
    dataset, problems = find_readable_dataset(locate_dataset(data.root, data.dataset), data)
    check_classes(read_plan(run / PLAN), dataset)
    ids = read_held_out(run, [*(case.id for case in dataset.cases), *problems])
    incomplete = {case: problems[case] for case in ids if case in problems}
    cases = [case for case in dataset.cases if case.id in ids]
    if not cases:
        raise DataError("\n".join(incomplete.values()))
    subjects = read_subjects(run / SUBJECTS, ids) if (run / SUBJECTS).is_file() else None
    folder, model = run / HELD_OUT, load_model(run, choose_device(device))
    check_results(folder)
    predictions = folder / PREDICTIONS
    failed = predict_cases([model], cases, predictions, Settings(attention=True), resume=True, overwrite=True)
    with folder_lock(folder):
        predicted = volumes_by_case(predictions)
        _, not_evaluated = evaluate_cases(cases, predicted, folder, dataset.labels, subjects=subjects)
    return folder, incomplete | failed | not_evaluated
