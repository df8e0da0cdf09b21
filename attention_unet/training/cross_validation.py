"""Cross-validate: train every fold, predict its held-out cases as a user would, and evaluate all cases together."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_unet.config import Config, DataConfig
from attention_unet.dataset.cases import Dataset
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.splits import Split, check_held_out_once, choose_split, read_split
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.evaluation.evaluate import TOLERANCE_MM, check_tolerance, evaluate_cases
from attention_unet.evaluation.evaluated_files import check_results
from attention_unet.evaluation.rows import Row, read_metrics
from attention_unet.evaluation.summary import Summary
from attention_unet.files.atomic import check_replaceable
from attention_unet.files.lock import LONG_PATIENCE, folder_lock
from attention_unet.files.prediction_record import read_record
from attention_unet.files.run_folder import CURVES, HISTORY, PREDICTIONS, SPLIT
from attention_unet.inference.components import cleaned_classes
from attention_unet.inference.model_file import CPU, load_model
from attention_unet.inference.output_folder import check_origin
from attention_unet.inference.predict_folder import predict_cases
from attention_unet.inference.settings import Settings
from attention_unet.machine.devices import choose_device, choose_precision, devices_and_nodes
from attention_unet.pictures.figures import MARK
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.planning import fill_from_plan
from attention_unet.scans.volume_files import volumes_by_case
from attention_unet.training.checkpoint import STATE, load_state
from attention_unet.training.common_plan import read_or_make_plan
from attention_unet.training.curves import draw_trainings
from attention_unet.training.interruption import Interrupted
from attention_unet.training.resolved_settings import changed_fields, configure_like_start, read_resolved_settings
from attention_unet.training.train import train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidation:
    """Held-out cases of each finished fold, with the metrics and the summary of these cases."""

    held_out: Mapping[int, Sequence[str]]
    rows: Sequence[Row]
    summary: Summary


def cross_validate(
    config: Config,
    folder: str | Path,
    folds: Sequence[int] | None = None,
    *,
    tta: bool = False,
    keep_all_components: bool = False,
    tolerance_mm: float = TOLERANCE_MM,
) -> tuple[CrossValidation, dict[str, str]]:
    """Train, predict and evaluate folds. A second call continues where the first stopped.

    Args:
        config: configuration of all trainings, except its fold. Open values are planned once for all folds.
        folder: folder for the runs ``fold0``, ``fold1``, ..., each with its ``predictions``, for the results of
            ``evaluate`` on all folds, and for the learning curves in ``curves.png``.
        folds: folds to train and predict now; None: all. Folds that earlier calls finished are evaluated, too.
        tta: predict with test-time augmentation by flips.
        keep_all_components: keep small components of all classes. Otherwise the folds that are finished by then decide.
        tolerance_mm: tolerance of the normalised surface Dice in mm.

    Returns:
        The results, and the reason for each case that failed.

    Raises:
        ConfigError: if there is no such fold, several processes are configured, earlier folds held out other cases, or
            as in ``train``.
        DataError: if a case differs between two folds, or as in ``train``.
        Interrupted: if the user stopped a training.

    Example:
        >>> from attention_unet.config import Config, DataConfig, TrainingConfig
        >>> data, training = DataConfig(root="phantoms/Phantom", folds=2), TrainingConfig(steps=2, validations=1)
        >>> results, failed = cross_validate(Config(data=data, training=training), "runs/folds")
        >>> failed
        {}
    """
    folder = Path(folder)
    folds = range(config.data.folds) if folds is None else folds
    check_folds(folds, config.data.folds)
    devices, nodes = devices_and_nodes(config.training)
    if devices * nodes > 1:
        raise ConfigError(
            f"training.devices: {devices * nodes} processes, but cross-validation trains each fold in one process: "
            "set it to 1, and run some of the folds on each device with --only"
        )
    check_tolerance(tolerance_mm)
    check_results(folder)
    check_replaceable(folder / CURVES, MARK)
    for fold in range(config.data.folds):
        check_origin(folder / f"fold{fold}" / PREDICTIONS)
    dataset, subjects, splits = split_dataset(config.data)
    _check_earlier_splits(folder, splits)
    _train_folds(config, folder, folds, read_or_make_plan(config, folder, dataset))
    failed = _predict_folds(config, folder, folds, splits, dataset, tta, keep_all_components)
    with folder_lock(folder, LONG_PATIENCE):  # of all folds that are predicted by now, perhaps by other processes
        finished = _find_predicted_folds(folder, splits, tta)
        held_out = {fold: splits[fold].validation for fold in finished}
        fold_of = {case: fold for fold, cases in held_out.items() for case in cases}
        predictions: dict[str, Path] = {}
        for fold in finished:
            predictions |= volumes_by_case(folder / f"fold{fold}" / PREDICTIONS)
        summary, not_evaluated = evaluate_cases(
            [case for case in dataset.cases if case.id in fold_of],
            predictions,
            folder,
            dataset.labels,
            tolerance_mm=tolerance_mm,
            subjects=subjects,
            folds=fold_of,
        )
        rows = read_metrics(folder / "metrics.csv")
        draw_trainings({f"fold {fold}": folder / f"fold{fold}" / HISTORY for fold in finished}, folder / CURVES)
    return CrossValidation(held_out, rows, summary), failed | not_evaluated


def split_dataset(data: DataConfig) -> tuple[Dataset, dict[str, str], dict[int, Split]]:
    """Return a dataset, the subject by case id, and the split of each fold.

    Raise ConfigError if the cases cannot be split as configured, DataError if the dataset is faulty.
    """
    dataset = find_dataset(data)
    ids = [case.id for case in dataset.cases]
    subjects = find_subjects(data, dataset.root, ids)
    splits = {fold: choose_split(dataclasses.replace(data, fold=fold), ids, subjects) for fold in range(data.folds)}
    check_held_out_once(splits)
    return dataset, subjects, splits


def _check_earlier_splits(folder: Path, splits: Mapping[int, Split]) -> None:
    """Check that earlier folds held out the same cases, so that no model is evaluated on its training cases."""
    for fold, split in splits.items():
        file = folder / f"fold{fold}" / SPLIT
        if file.exists() and read_split(file) != split:
            raise ConfigError(
                f"{file}: the held-out cases changed: cases were added or removed, or data.folds, data.split_seed, "
                "data.splits or data.subjects changed; undo the change, or choose another folder with --run"
            )


def check_folds(folds: Sequence[object], count: int) -> None:
    """Raise ConfigError if there is no fold, or one outside of 0 to ``count`` - 1."""
    if not folds or not all(fold in range(count) for fold in folds):
        raise ConfigError(f"folds are {', '.join(map(str, folds))}: expected some from 0 to {count - 1}, such as 0,2")


def _train_folds(config: Config, folder: Path, folds: Sequence[int], plan: Plan) -> None:
    """Train folds, or resume their training. Open values of the configuration are those of the plan."""
    for fold in folds:
        log.info("fold %d of %d", fold, config.data.folds)
        run = folder / f"fold{fold}"
        unplanned = dataclasses.replace(config, data=dataclasses.replace(config.data, fold=fold))
        digests = _check_trained_folds(folder, config)
        with folder_lock(run):  # a process that trains it may not have saved its state yet
            resume = (run / STATE).exists()
        try:
            if resume:
                train(unplanned, run, resume=True, digests=digests)
            else:
                train(fill_from_plan(unplanned, plan), run, digests=digests, unplanned=unplanned)
        except Interrupted as error:
            message = "stopped: repeat the same command to continue"
            raise Interrupted(message, error.caught) from error


def _check_trained_folds(folder: Path, config: Config) -> dict[str, str]:
    """Return the digest of image and label by case id, from the folds trained so far.

    Raise ConfigError if a fold had another configuration, DataError if a case differs between two folds.
    """
    digests: dict[str, str] = {}
    for fold in range(config.data.folds):
        file = folder / f"fold{fold}" / STATE
        if not file.exists():
            continue
        before = read_resolved_settings(load_state(file), file)
        training = dataclasses.replace(config.training, seed=before.config.training.seed)  # studies: one for each fold
        if training.precision == "auto":  # may differ between machines
            training = dataclasses.replace(training, precision=before.config.training.precision)
        of_fold = dataclasses.replace(config, data=dataclasses.replace(config.data, fold=fold), training=training)
        if changes := changed_fields(before, configure_like_start(before, of_fold)):
            raise ConfigError(
                f"{file.parent}: was trained with another configuration: {'; '.join(changes.values())}: undo the "
                "change, or choose another folder with --run"
            )
        if changed := [case for case, digest in before.digests.items() if digests.setdefault(case, digest) != digest]:
            raise DataError(
                f"{file}: {first_few(changed)}: image or label differs from that of another fold: remove this "
                "folder to train the fold again, or choose another --run"
            )
    return digests


def _predict_folds(
    config: Config,
    folder: Path,
    folds: Sequence[int],
    splits: Mapping[int, Split],
    dataset: Dataset,
    tta: bool,
    keep_all_components: bool,
) -> dict[str, str]:
    """Predict the held-out cases of folds; return the reason for each case that failed."""
    failed: dict[str, str] = {}
    for fold in folds:
        run = folder / f"fold{fold}"
        cases = [case for case in dataset.cases if case.id in splits[fold].validation]
        others = [folder / f"fold{other}" for other in splits if other != fold]
        model = load_model(run, choose_device(config.training.accelerator))
        settings = Settings(
            precision=choose_precision(config.training.precision, model.device),
            tta=tta,
            drop_small=() if keep_all_components else _choose_cleaned_classes(others),
        )
        failed |= predict_cases([model], cases, run / PREDICTIONS, settings, resume=True, overwrite=True)
    return failed


def _choose_cleaned_classes(runs: Sequence[Path]) -> tuple[str, ...]:
    """Return the classes whose small components are dropped.

    The held-out cases of other folds decide, so that no fold is evaluated with a decision from its own cases.
    """
    models = [load_model(run, CPU) for run in runs if _is_trained(run)]
    return tuple(cleaned_classes(models, Settings())) if models else ()


def _is_trained(run: Path) -> bool:
    """Return whether a training is finished. Another process may still be training."""
    if not (run / STATE).exists():
        return False
    state = load_state(run / STATE)
    return state.loop.validations == Config.from_plain(state.settings["config"]).training.validations


def _find_predicted_folds(folder: Path, folds: Iterable[int], tta: bool) -> list[int]:
    """Return the folds whose predictions are complete and made with or without TTA, as given."""
    records = {fold: read_record(folder / f"fold{fold}" / PREDICTIONS) for fold in folds}
    complete = [fold for fold, record in records.items() if record.get("complete")]
    for fold in complete:
        if records[fold].get("tta") != tta:
            log.warning("fold %d was predicted with%s --tta: left out", fold, "out" if tta else "")
    return [fold for fold in complete if records[fold].get("tta") == tta]
