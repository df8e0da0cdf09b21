"""Run the subcommands: each calls functions of the package. Heavy imports are inside them."""

import dataclasses
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from attention_unet.cli.call import wants_jobs
from attention_unet.cli.mechanisms import attention
from attention_unet.cli.results import compare, evaluate, explain, report
from attention_unet.cli.screen import report_failures, table_console
from attention_unet.cli.study import study
from attention_unet.config import Config
from attention_unet.errors import ConfigError, plural
from attention_unet.machine.progress import progress_bar

log = logging.getLogger("attention_unet")


def _train(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.training.train import train

    config = _configured(options, parser)
    run = Path(options.run or f"runs/{_name_of(options, config)}-fold{config.data.fold}")
    train(config, run, options.resume, options.override)
    log.info("the model is in %s", run)
    return 0


def _inspect(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.cli.tables import print_inspection, print_plan, print_trial
    from attention_unet.dataset.cases import locate_dataset
    from attention_unet.dataset.find_dataset import find_readable_dataset
    from attention_unet.dataset.inspection import inspect, shorten
    from attention_unet.dataset.subjects import find_subjects
    from attention_unet.training.learner import build_network
    from attention_unet.training.preview import preview
    from attention_unet.training.trial import try_step

    config = _configured(options, parser)
    folder = Path(options.path or "")
    if options.path and folder.is_file():
        raise ConfigError(f"{folder}: is a file: name the folder of the dataset")
    if options.path and folder.is_dir():
        folder = locate_dataset(options.path, "")
    else:
        folder = locate_dataset(config.data.root, options.path or config.data.dataset)
    dataset, known = find_readable_dataset(folder, config.data)
    subjects = find_subjects(config.data, dataset.root, [case.id for case in dataset.cases])
    with progress_bar("reading", len(dataset.cases)) as done:
        inspection = inspect(dataset, known, subjects, done)
    tables = table_console(quiet=options.json)
    print_inspection(dataset, inspection, tables)
    if not options.json:
        for warning in shorten(inspection.warnings):
            log.warning("%s", warning)
    code, planned, trial = report_failures(inspection.problems), None, None
    if inspection.facts:
        planned = preview(config, dataset, inspection, subjects)
        for warning in planned.warnings:
            log.warning("%s", warning)
        if planned.refusal and not inspection.problems:
            log.error("error: %s", planned.refusal)
            code = planned.refusal.exit_code
        print_plan(planned.plan, planned.fingerprint, tables)
        if options.no_trial:
            build_network(planned.plan)  # to find mistakes in the attention
        else:
            trial = try_step(config, planned.plan)
            print_trial(trial, config.training.budget_minutes, planned.plan.region_mm is not None, tables)
    if options.json:
        plan, step = planned and planned.plan.to_json(), trial and dataclasses.asdict(trial)
        cases = [fact.to_json() for fact in inspection.facts]
        found = {"cases": cases, "problems": inspection.problems, "warnings": inspection.warnings}
        print(json.dumps({**found, "plan": plan, "step": step}, indent=2))
    return code


def _cross_validate(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.evaluation.fold_table import tabulate_folds
    from attention_unet.evaluation.summary_table import print_table
    from attention_unet.training.cross_validation import check_folds, cross_validate, split_dataset

    config = _configured(options, parser)
    folds: list[Any] = list(range(config.data.folds))
    if options.only is not None:
        folds = [int(word) if word.strip().isdecimal() else word for word in options.only.split(",")]
    check_folds(folds, config.data.folds)
    if wants_jobs(options):
        from attention_unet.machine.jobs import run_jobs

        split_dataset(config.data)  # reports a fault of all folds once, before processes start
        calls = {f"fold {fold}": [*options.arguments, f"--only={fold}", "--jobs=1"] for fold in folds}
        if (code := run_jobs(calls, options.jobs)) > 1:  # 1: some cases, or trainings, failed: finished below
            return code
    folder = Path(options.run or f"runs/{_name_of(options, config)}-folds")
    found, failed = cross_validate(config, folder, folds, tta=options.tta, tolerance_mm=options.tolerance_mm)
    tables = table_console()
    tables.print(tabulate_folds(found.rows, found.held_out))
    print_table(found.summary, tables)
    log.info("predict with all folds: -m %s", folder)
    return report_failures(failed)


def _predict(options: Namespace, parser: ArgumentParser) -> int:
    if wants_jobs(options, ["--part"] if options.part != "1/1" else []):
        return _predict_parts(options)
    from attention_unet.files.part import Part
    from attention_unet.inference.model_file import load_models
    from attention_unet.inference.predict_folder import predict_folder
    from attention_unet.inference.predict_tree import predict_tree
    from attention_unet.inference.settings import Settings
    from attention_unet.machine.devices import choose_device
    from attention_unet.scans.dicom_segmentation import read_codes

    if options.codes and not options.dicom_seg:
        raise ConfigError("--codes is given without --dicom-seg: expected both")
    if options.participant and not options.bids_suffix:
        raise ConfigError("--participant is given without --bids-suffix: expected both")
    if options.held_out_of and options.recursive:
        raise ConfigError("--held-out-of is given with --recursive: expected one of them")
    if options.memory_gb is not None and not 0 < options.memory_gb < 1e9:
        raise ConfigError(f"--memory-gb is {options.memory_gb}: expected more than 0 and less than 1e9")
    if len(options.input) > 1:
        raise ConfigError(f"--input is given {len(options.input)} times: name one scan, or a folder of them")
    settings = Settings(
        overlap=options.overlap,
        whole_scan=options.whole_scan or None,
        tta=options.tta,
        attention=options.attention_maps,
        probabilities=options.probabilities,
        uncertainty=options.uncertainty,
        drop_small=() if options.keep_all_components else None,
        memory=options.memory_gb and round(options.memory_gb * 2**30),
        channel=options.channel,
        missing=tuple(options.missing or ()),
        file_format=options.format,
        dicom=options.dicom_seg,
        codes=read_codes(Path(options.codes)) if options.codes else {},
    )
    part, models = Part.parse(options.part), load_models(options.model, choose_device(options.device))
    given = models, options.input[0], options.output, settings
    how = {"held_out_of": options.held_out_of, "resume": options.resume, "overwrite": options.overwrite, "part": part}
    if options.recursive or options.bids_suffix:
        failed = predict_tree(*given, bids=options.bids_suffix or (), participants=options.participant or (), **how)
    else:
        failed = predict_folder(*given, **how)
    return report_failures(failed)


def _predict_parts(options: Namespace) -> int:
    from attention_unet.machine.jobs import run_jobs
    from attention_unet.machine.memory import free_memory

    count, memory = options.jobs, options.memory_gb
    memory = free_memory() / count / 2**30 if memory is None else memory
    parts = [f"{number}/{count}" for number in range(1, count + 1)]
    own = ["--jobs=1", f"--memory-gb={memory}"]
    return run_jobs({f"part {part}": [*options.arguments, *own, f"--part={part}"] for part in parts}, count)


def _export(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.export.export import export_model

    export_model(options.model, options.to, options.output, options.check)
    return 0


def _card(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.report.card import write_card

    log.info("the card is in %s: write what it marks as to be written", write_card(options.run, options.output))
    return 0


def _fetch(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.dataset.cases import data_root
    from attention_unet.dataset.fetch import DATASETS, LICENCE, fetch

    if options.dataset not in DATASETS:
        raise ConfigError(f"no public dataset is called {options.dataset!r}: there is {', '.join(DATASETS)}")
    folder = fetch(DATASETS[options.dataset], data_root(options.root))
    log.info("the dataset is in %s; licence: %s", folder, LICENCE)
    return 0


def _phantom(options: Namespace, parser: ArgumentParser) -> int:
    from attention_unet.dataset.cases import data_root
    from attention_unet.dataset.phantom import make_cohort

    if not 0 <= options.seed < 2**32:
        raise ConfigError(f"--seed is {options.seed}: expected 0 to {2**32 - 1}")
    with progress_bar("making phantoms", options.training + options.test) as done:
        folder = make_cohort(data_root(options.root), options.training, options.test, options.seed, done)
    log.info("%s to train on and %d to test on are in %s", plural(options.training, "case"), options.test, folder)
    return 0


def _configured(options: Namespace, parser: ArgumentParser) -> Config:
    """Return the configuration of a training, from files and options."""
    fields = parser.instantiate(options)
    return Config(fields.data, fields.augmentation, fields.network, fields.attention, fields.training)


def _name_of(options: Namespace, config: Config) -> str:
    """Return the name of the runs of a configuration: that of its file or, without one, of its dataset."""
    from attention_unet.dataset.cases import data_root

    if options.config:
        return Path(str(options.config[-1])).stem
    return Path(os.path.abspath(data_root(config.data.root) / config.data.dataset)).name


COMMANDS: dict[str, Callable[[Namespace, ArgumentParser], int]] = {
    "train": _train,
    "inspect": _inspect,
    "cross-validate": _cross_validate,
    "predict": _predict,
    "evaluate": evaluate,
    "compare": compare,
    "explain": explain,
    "study": study,
    "report": report,
    "export": _export,
    "card": _card,
    "fetch": _fetch,
    "phantom": _phantom,
    "attention": attention,
}
