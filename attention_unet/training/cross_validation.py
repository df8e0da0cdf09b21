"""Cross-validation: train on every fold, predict what each held out as a user would, score all of it together."""

import dataclasses
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from attention_unet.config import Config
from attention_unet.dataset.cases import Dataset, find_cases, locate_dataset
from attention_unet.dataset.splits import Split, choose_split, read_split, read_splits
from attention_unet.dataset.subjects import find_subjects
from attention_unet.errors import ConfigError, DataError, first_few
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.evaluation.result_files import check_results
from attention_unet.evaluation.rows import Row, from_csv
from attention_unet.files.atomic import check_replaceable
from attention_unet.files.prediction_record import read_record
from attention_unet.files.run_folder import HISTORY, PLAN, PREDICTIONS, SPLIT, WEIGHTS
from attention_unet.inference.components import pool_gains
from attention_unet.inference.model import CPU, load_model
from attention_unet.inference.output_folder import check_origin
from attention_unet.inference.predict_folder import predict_cases
from attention_unet.inference.settings import Settings
from attention_unet.machine.devices import choose_device, devices_and_nodes, precision_of, this_machine
from attention_unet.pictures.figures import MARK
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.plan import Plan, fill_from_plan, make_plan, read_plan
from attention_unet.scans.labels import FOREGROUND
from attention_unet.scans.volumes import volumes_by_case
from attention_unet.training.checkpoint import STATE, load_state
from attention_unet.training.curves import CURVES, draw_trainings
from attention_unet.training.resolved_settings import read_resolved_settings
from attention_unet.training.same_data import check_classes
from attention_unet.training.train import Interrupted, train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossValidation:
    """Results of a cross-validation.

    Attributes:
        held_out: ids of the held-out cases of each fold that is complete.
        rows: metrics of these cases.
        summary: of all of them, as in ``summary.json``.
    """

    held_out: Mapping[int, Sequence[str]]
    rows: Sequence[Row]
    summary: Mapping[str, Any]


def cross_validate(
    config: Config,
    folder: Path,
    folds: Sequence[int],
    *,
    mirrored: bool,
    tolerance_mm: float,
) -> tuple[CrossValidation, dict[str, str]]:
    """Train, predict and score folds; called again, it goes on where it stopped.

    Args:
        config: of every training; its fold is not looked at. What it leaves open is planned once, for all folds.
        folder: for the runs ``fold0``, ``fold1``, ..., each with its ``predictions``, and for what ``evaluate``
            writes of all of them and the learning curves, ``curves.png``.
        folds: to do now. What earlier calls finished is scored with them.
        mirrored: whether to predict with mirrored windows as well.
        tolerance_mm: of the normalised surface Dice.

    Returns:
        The results, and for each case that failed the reason.

    Raises:
        ConfigError: if several processes are asked for, if earlier folds are of other cases, or for what a training
            raises it.
        Interrupted: if the user stopped a training.
    """
    devices, nodes = devices_and_nodes(config.training)
    if devices * nodes > 1:
        raise ConfigError(
            "training.devices: cross-validation trains each fold in one process: expected 1; give every device some of "
            "the folds by --only instead"
        )
    check_results(folder)
    check_replaceable(folder / CURVES, MARK)
    for fold in range(config.data.folds):
        check_origin(folder / f"fold{fold}" / PREDICTIONS)
    dataset = find_cases(locate_dataset(config.data.root, config.data.dataset))
    ids, data = [case.id for case in dataset.cases], config.data
    subjects = find_subjects(data, dataset.root, ids)
    if data.splits and len(read_splits(Path(data.splits))) != data.folds:
        raise ConfigError(f"{data.splits}: does not hold {data.folds} splits: expected a list of one for each fold")
    splits = {fold: choose_split(dataclasses.replace(data, fold=fold), ids, subjects) for fold in range(data.folds)}
    _check_earlier(folder, splits)
    config = fill_from_plan(config, _plan_of_all(config, folder, dataset))
    failed: dict[str, str] = {}
    for fold in folds:
        log.info("fold %d of %d", fold, data.folds)
        run = folder / f"fold{fold}"
        chosen = dataclasses.replace(config, data=dataclasses.replace(config.data, fold=fold))
        try:
            digests = _digests_of(folder, data.folds)
            train(chosen, run, resume=(run / STATE).exists(), digests=digests)
        except Interrupted as error:
            raise Interrupted("stopped and saved: repeat the same command to go on", error.exit_code - 128) from error
    for fold in folds:
        run = folder / f"fold{fold}"
        held_out = [case for case in dataset.cases if case.id in splits[fold].validation]
        others = [folder / f"fold{other}" for other in splits if other != fold]
        model = load_model(run, choose_device(config.training.accelerator))
        settings = Settings(
            precision=precision_of(config.training.precision, model.device),
            mirrored=mirrored,
            keep_largest=_decide_components(others, dataset),
        )
        failed |= predict_cases([model], held_out, run / PREDICTIONS, settings, resume=True, overwrite=True)
    told = {fold: read_record(folder / f"fold{fold}" / PREDICTIONS) for fold in splits}
    complete = [fold for fold, how in told.items() if how.get("complete")]
    done = [fold for fold in complete if told[fold]["mirrored"] == mirrored]
    for fold in complete:
        if fold not in done:
            log.warning("fold %d was predicted with%s --tta: left out", fold, "out" if mirrored else "")
    scored = {fold: splits[fold].validation for fold in done}
    fold_of = {case: fold for fold, of in scored.items() for case in of}
    predictions: dict[str, Path] = {}
    for fold in done:
        predictions |= volumes_by_case(folder / f"fold{fold}" / PREDICTIONS)
    summary, broken = evaluate_cases(
        [case for case in dataset.cases if case.id in fold_of],
        predictions,
        folder,
        dataset.labels,
        tolerance_mm=tolerance_mm,
        subjects=subjects,
        folds=fold_of,
    )
    draw_trainings({f"fold {fold}": folder / f"fold{fold}" / HISTORY for fold in done}, folder / CURVES)
    return CrossValidation(scored, from_csv(folder / "metrics.csv"), summary), failed | broken


def _check_earlier(folder: Path, splits: Mapping[int, Split]) -> None:
    """Check that earlier folds held out what they would today: no case is to be scored by a model that it taught."""
    for fold, split in splits.items():
        file = folder / f"fold{fold}" / SPLIT
        if file.exists() and read_split(file) != split:
            raise ConfigError(
                f"{file}: holds out other cases than it would today: cases came or went, or data.folds or "
                "data.split_seed, data.splits or data.subjects changed: undo that, or name another folder with --run"
            )


def _digests_of(folder: Path, folds: int) -> dict[str, str]:
    """Digests of image and label of the cases, as earlier folds found them.

    Raises:
        DataError: if two folds found different ones.
    """
    found: dict[str, str] = {}
    for file in (folder / f"fold{fold}" / STATE for fold in range(folds)):
        digests = read_resolved_settings(load_state(file), file).digests if file.exists() else {}
        if changed := [case for case, digest in digests.items() if found.setdefault(case, digest) != digest]:
            raise DataError(
                f"{file}: {first_few(changed)}: image or label differs from that of another fold: remove this "
                "folder to train the fold again, or name another --run"
            )
    return found


def _plan_of_all(config: Config, folder: Path, dataset: Dataset) -> Plan:
    """The plan of earlier folds, or a new one."""
    earlier = sorted(folder.glob(f"fold*/{PLAN}"))
    if earlier:
        plan = read_plan(earlier[0])
        check_classes(plan, dataset)
        return plan
    return make_plan(config, dataset, take_fingerprint(dataset.cases), this_machine(config.training))


def _decide_components(runs: Sequence[Path], dataset: Dataset) -> tuple[str, ...]:
    """Classes that keep only their largest connected component, decided on the held-out cases of some folds.

    What a fold held out is not judged by a decision that it took part in.
    """
    trained = [run for run in runs if (run / WEIGHTS).is_file()]
    gains = pool_gains(load_model(run, CPU).component_gains for run in trained)
    return tuple(name for name in dataset.labels.names if name in gains and gains[name].helps)


def tabulate_folds(rows: Sequence[Row], folds: Mapping[int, Sequence[str]]) -> Table:
    """Mean Dice of each class over the held-out cases of each fold, and over all of them with its standard deviation.

    Args:
        rows: metrics of every class of all of them.
        folds: cases of each.
    """
    columns = {f"fold {fold}": list(cases) for fold, cases in folds.items()}
    columns["all"] = [case for cases in folds.values() for case in cases]
    table = Table(title="Dice by fold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for name, cases in columns.items():
        table.add_column(f"{name} ({len(cases)})", justify="right")
    means: dict[str, list[float]] = {name: [] for name in columns}
    for label in dict.fromkeys(row.class_name for row in rows if row.class_name != FOREGROUND):
        cells = []
        for name, cases in columns.items():
            of_all = [row.metrics.dice for row in rows if row.class_name == label and row.case in cases]
            dice = [value for value in of_all if not math.isnan(value)]
            means[name] += [statistics.mean(dice)] if dice else []
            spread = f" ± {statistics.stdev(dice):.4f}" if name == "all" and len(dice) > 1 else ""
            cells.append(f"{statistics.mean(dice):.4f}{spread}" if dice else "-")
        table.add_row(label, *cells)
    table.add_row("mean of classes", *(f"{statistics.mean(of):.4f}" if of else "-" for of in means.values()))
    return table
