"""Run the subcommands on results: evaluate, report, explain, compare."""

import logging
import re
import shlex
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from attention_unet.cli.screen import report_failures, table_console
from attention_unet.errors import ConfigError, DataError, ModelError
from attention_unet.machine.progress import progress_bar

log = logging.getLogger("attention_unet")


def evaluate(options: Namespace, parser: ArgumentParser) -> int:
    """Score predictions against references."""
    from attention_unet.evaluation.evaluate import evaluate_folder
    from attention_unet.evaluation.summary_table import print_table

    summary, failed = evaluate_folder(
        options.predictions,
        options.references,
        options.output,
        images=options.images,
        tolerance_mm=options.tolerance_mm,
        subjects=options.subjects,
        held_out_of=options.held_out_of,
        predicted_only=options.predicted_only,
        components=options.components,
    )
    print_table(summary, table_console())
    return report_failures(failed)


def report(options: Namespace, parser: ArgumentParser) -> int:
    """Write the report of an evaluation or a run."""
    from attention_unet.evaluation.evaluated_files import SCORED, read_evaluated_files
    from attention_unet.files.atomic import check_replaceable, check_writable
    from attention_unet.files.run_folder import CONFIG, REPORT
    from attention_unet.report.report import MARK, write_report

    source, runs = Path(options.source), [Path(run) for run in options.run or []]
    evaluation: Path | None = source
    failed: dict[str, str] = {}
    output = Path(options.output or source / REPORT)
    check_replaceable(output, MARK)
    if options.cases < 0:
        raise ConfigError(f"--cases is {options.cases}: expected 0 or more")
    for run in runs:
        if not (run / CONFIG).is_file():
            raise ConfigError(f"{run}: holds no {CONFIG}: expected the folder of a run")
    if (source / CONFIG).is_file():
        check_writable(output.parent)
        evaluation, failed = _evaluate_run(source, options.root, options.device)
        runs = [source, *runs]
    elif not source.is_dir():
        raise ConfigError(f"{source}: not a folder: expected a run, or the output folder of evaluate; check the path")
    elif not (source / SCORED).is_file():
        raise ConfigError(
            f"{source}: holds neither {CONFIG} nor {SCORED}: expected the folder of a run, or one that this version's "
            "evaluate or cross-validate wrote"
        )
    elif options.root:
        raise ConfigError(f"--root is {options.root}: for runs only, and {source} is none: leave it out")
    title = source.resolve().name
    if re.fullmatch(r"fold\d+", title):
        title = f"{source.resolve().parent.name} / {title}"
    number = len(read_evaluated_files(evaluation).cases) if evaluation else 0
    with progress_bar("drawing", min(options.cases, number)) as done:
        failed |= write_report(output, title, evaluation, runs, options.cases, done)
    log.info("the report is in %s (%.1f MB): open it in a browser", output, output.stat().st_size / 1e6)
    return report_failures(failed)


def _evaluate_run(run: Path, root: str | None, device: str) -> tuple[Path | None, dict[str, str]]:
    """Evaluate the held-out cases of a run. Return the folder of the evaluation, and why cases failed, by case.

    If that is impossible, an earlier evaluation stays, if there is one.
    """
    from attention_unet.evaluation.evaluated_files import SCORED
    from attention_unet.files.run_folder import HELD_OUT
    from attention_unet.machine.devices import choose_device
    from attention_unet.training.held_out import evaluate_held_out

    choose_device(device)  # an unknown device is an error; without the dataset, the page is still written
    try:
        return evaluate_held_out(run, root, device)
    except (ConfigError, DataError, ModelError) as error:
        if root:
            raise
        earlier = run / HELD_OUT
        evaluation = earlier if (earlier / SCORED).is_file() else None
        log.warning("%s: %s", "cases are shown as before" if evaluation else "no cases are shown", error)
        return evaluation, {}


def explain(options: Namespace, parser: ArgumentParser) -> int:
    """Check the attention of a run on cases that it held out."""
    from attention_unet.explanation.explain import explain_run

    if options.cases < 1:
        raise ConfigError(f"--cases is {options.cases}: expected 1 or more")
    run = Path(options.run)
    second = Path(options.second) if options.second else None
    findings, failed = explain_run(run, second, options.cases, options.root, options.device)
    for sentence in findings["sentences"]:
        print(sentence)
    log.info("all of it in a page: attention-unet report %s", shlex.quote(str(run)))
    return report_failures(failed)


def compare(options: Namespace, parser: ArgumentParser) -> int:
    """Compare evaluations of the same cases with the first of them."""
    from attention_unet.evaluation.compare import compare as compare_models
    from attention_unet.evaluation.comparison import HEADINGS, comparisons_to_csv
    from attention_unet.evaluation.comparison_input import check_alike, find_models
    from attention_unet.evaluation.comparison_plot import draw_gains
    from attention_unet.evaluation.rows import read_metrics
    from attention_unet.files.atomic import check_replaceable, write_text
    from attention_unet.pictures.figures import MARK

    output = Path(options.output)
    table, picture = output / "comparison.csv", output / "comparison.png"
    check_replaceable(table, ",".join(HEADINGS).encode())
    check_replaceable(picture, MARK)
    folders = find_models(options.evaluations)
    models = {name: [read_metrics(folder / "metrics.csv") for folder in runs] for name, runs in folders.items()}
    check_alike(folders, options.metric)
    comparisons = compare_models(models, options.metric)
    for comparison in comparisons:
        print(comparison)
    if any(comparison.test.trainings == 1 for comparison in comparisons):
        log.info(
            "one training of each: this compares trained networks, not methods: another seed may turn it around; "
            "with several runs: compare A=FOLDER,FOLDER B=FOLDER,FOLDER"
        )
    write_text(table, comparisons_to_csv(comparisons))
    draw_gains(comparisons, picture)
    log.info("comparison.csv and comparison.png are in %s", output)
    return 0
