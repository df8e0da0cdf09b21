"""Cross-validation: train on every fold, predict what each held out as a user would, score all of it together."""

import csv
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from attention_unet.config import Config
from attention_unet.data.cases import Case, Dataset, find_cases, locate_dataset
from attention_unet.data.predictions import prediction_path
from attention_unet.data.splits import split_cases
from attention_unet.devices import choose_device, precision_of
from attention_unet.errors import ConfigError
from attention_unet.evaluation.evaluate import evaluate_folder
from attention_unet.evaluation.summary import print_table
from attention_unet.inference.model import WEIGHTS, load_model
from attention_unet.inference.predict_files import describe_output, predict_files
from attention_unet.progress import counting
from attention_unet.training.checkpoint import STATE
from attention_unet.training.curves import draw_curves
from attention_unet.training.monitor import HISTORY
from attention_unet.training.train import train

log = logging.getLogger(__name__)


def cross_validate(
    config: Config,
    folder: Path,
    folds: Sequence[int],
    *,
    mirrored: bool,
    tolerance_mm: float,
    progress: Console,
    tables: Console,
) -> dict[str, str]:
    """Train, predict and score folds; called again, it goes on where it stopped.

    Args:
        config: of every training; its fold is not looked at.
        folder: for the runs ``fold0``, ``fold1``, ..., all ``predictions``, ``metrics.csv``, ``summary.json`` and the
            learning curves, ``curves.png``.
        folds: to do now. What earlier calls did is scored with them.
        mirrored: whether to predict with mirrored windows as well.
        tolerance_mm: of the normalised surface Dice.
        progress: where to draw progress bars.
        tables: where to print the results.

    Returns:
        For each case that failed the reason.

    Raises:
        ConfigError: if several processes are asked for, or for what a training raises it.
    """
    if config.training.devices * config.training.nodes > 1:
        raise ConfigError(
            "training.devices: cross-validation trains each fold in one process: expected 1; give every device some of "
            "the folds by --only instead"
        )
    dataset = find_cases(locate_dataset(config.data.root, config.data.dataset))
    held_out = {fold: held_out_cases(config, dataset, fold) for fold in range(config.data.folds)}
    failed: dict[str, str] = {}
    for fold in folds:
        run = folder / f"fold{fold}"
        log.info("fold %d of %d", fold, config.data.folds)
        chosen = dataclasses.replace(
            config, data=dataclasses.replace(config.data, fold=fold, cache=config.data.cache or str(folder / "cache"))
        )
        train(chosen, run, resume=(run / STATE).exists(), console=progress)
        failed |= _predict(config, run, folder / "predictions", held_out[fold], mirrored, progress)
    done = {fold: cases for fold, cases in held_out.items() if _is_done(folder, cases, fold)}
    references = {case.id: case.label for cases in done.values() for case in cases if case.label is not None}
    with counting(progress, "evaluating", len(references)) as count:
        summary, broken = evaluate_folder(
            folder / "predictions",
            references,
            folder,
            labels=dataset.labels,
            tolerance_mm=tolerance_mm,
            done=count,
        )
    if done:
        draw_curves({f"fold {fold}": folder / f"fold{fold}" / HISTORY for fold in done}, folder / "curves.png")
    of_folds = {fold: [case.id for case in cases] for fold, cases in done.items()}
    tables.print(tabulate(folder / "metrics.csv", of_folds))
    print_table(summary, tables)
    return failed | broken


def held_out_cases(config: Config, dataset: Dataset, fold: int) -> list[Case]:
    """Cases that a fold holds out."""
    data = config.data
    held_out = split_cases([case.id for case in dataset.cases], data.folds, fold, data.split_seed).validation
    return [case for case in dataset.cases if case.id in held_out]


def _predict(
    config: Config, run: Path, output: Path, cases: Sequence[Case], mirrored: bool, progress: Console
) -> dict[str, str]:
    model = load_model(run, choose_device(config.training.accelerator))
    describe_output(output, [model])
    with counting(progress, "predicting", len(cases)) as count:
        return predict_files(
            cases,
            output,
            [model],
            precision=precision_of(config.training.precision, model.device),
            overlap=0.5,
            mirrored=mirrored,
            attention=False,
            done=count,
        )


def _is_done(folder: Path, cases: Sequence[Case], fold: int) -> bool:
    there = all(prediction_path(folder / "predictions", case.id).exists() for case in cases)
    return there and (folder / f"fold{fold}" / WEIGHTS).exists()


def tabulate(metrics: Path, folds: dict[int, list[str]]) -> Table:
    """Mean Dice of each class over the held-out cases of each fold, and over all of them with its standard deviation.

    Args:
        metrics: ``metrics.csv`` of all of them.
        folds: cases of each.
    """
    with metrics.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["class"] for row in rows))
    table = Table(title="Dice by fold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("fold", "cases", *names, "mean of classes"):
        table.add_column(heading, justify="right")
    everyone = [case for cases in folds.values() for case in cases]
    for fold, cases in {**{str(fold): cases for fold, cases in folds.items()}, "all": everyone}.items():
        dice = {name: [float(r["dice"]) for r in rows if r["class"] == name and r["case"] in cases] for name in names}
        means = [float(np.nanmean(values)) for values in dice.values()]
        spread = [f" ± {np.nanstd(values, ddof=1):.4f}" if fold == "all" else "" for values in dice.values()]
        cells = [f"{mean:.4f}{around}" for mean, around in zip(means, spread, strict=True)]
        table.add_row(fold, str(len(cases)), *cells, f"{np.mean(means):.4f}")
    return table
