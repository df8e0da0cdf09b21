"""The subcommands that tell how good predictions are."""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from attention_unet.cli.screen import report_failures, table_console
from attention_unet.errors import ConfigError, ModelError, counted, some_of
from attention_unet.progress import counting

if TYPE_CHECKING:
    from attention_unet.data.labels import Labels

log = logging.getLogger("attention_unet")


def evaluate(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    """Score predictions against references."""
    from attention_unet.data.cases import Case, group_channels
    from attention_unet.data.splits import held_out_cases
    from attention_unet.data.subjects import read_subjects
    from attention_unet.data.volumes import list_unread, list_volumes, volumes_by_case
    from attention_unet.evaluation.evaluate import check_output, evaluate_folder, find_labels
    from attention_unet.evaluation.showcase import PICTURE, draw_showcase
    from attention_unet.evaluation.summary import print_table
    from attention_unet.lock import alone_in
    from attention_unet.run_folder import REPORT, SUBJECTS

    predictions, references, output = Path(options.predictions), Path(options.references), Path(options.output)
    images = Path(options.images) if options.images else None
    for folder, of in ((predictions, "predicted label maps"), (references, "true label maps"), (images, "scans")):
        if folder and not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder: expected the {of}")
        if folder and folder.resolve() == output.resolve():
            raise ConfigError(f"{output}: holds the {of}: name another folder with -o")
    if not 0 <= options.tolerance_mm < math.inf:
        raise ConfigError(f"--tolerance-mm is {options.tolerance_mm}: expected 0 or more")
    known = volumes_by_case(references)
    cases = list(known)
    if not cases:
        raise ConfigError(f"{references}: holds no NIfTI file: expected the true label maps")
    if options.held_out_of:
        cases = held_out_cases(Path(options.held_out_of), cases)
    labels = find_labels(predictions, references, cases)
    predicted = volumes_by_case(predictions)
    if not set(predicted) & set(cases):
        raise ConfigError(
            f"{predictions}: holds no prediction of these cases, but {some_of(predicted) or 'no volume'}: "
            f"expected masks with the names of the references, such as {known[cases[0]].name}"
        )
    if options.predicted_only:
        cases = [case for case in cases if case in predicted]
    for folder in (predictions, references):
        if unread := list_unread(folder):
            log.warning("warning: %s: not read: %s", folder, some_of(unread))
    extra = set(predicted) - set(known)
    if extra:
        log.warning("warning: %s: without reference: %s: %s", predictions, counted(len(extra), "case"), some_of(extra))
    subjects: dict[str, str] = {}
    table = Path(options.held_out_of or "") / SUBJECTS
    if options.subjects or (options.held_out_of and table.is_file()):
        subjects = read_subjects(Path(options.subjects or table), cases)
    with alone_in(output):
        check_output(output)
        scans = group_channels(list_volumes(images), wanted=cases) if images else {}
        chosen = [Case(case, scans.get(case, ()), known[case]) for case in cases]
        with counting(console, "evaluating", len(cases)) as done:
            summary, failed = evaluate_folder(
                predictions,
                chosen,
                output,
                labels=labels,
                tolerance_mm=options.tolerance_mm,
                subjects=subjects,
                done=done,
            )
        print_table(summary, table_console())
        if summary["missing_predictions"]:
            log.info("--predicted-only leaves out what is not predicted")
        log.info("metrics.csv and summary.json lie in %s", output)
        scored = {case: known[case] for case in cases if case not in failed}
        failed |= _calibrate(predictions, scored, output, labels, console) | _tell_focus(output, console)
        code = report_failures(failed)
        if (output / REPORT).exists():
            log.warning("warning: %s: is of an earlier evaluation: report again", output / REPORT)
        if images:
            log.info("a picture lies in %s", draw_showcase(output))
        else:
            (output / PICTURE).unlink(missing_ok=True)
        return code


def _calibrate(
    predictions: Path, references: Mapping[str, Path], output: Path, labels: "Labels", console: Console
) -> dict[str, str]:
    """Tell how far probabilities can be believed where they were saved; of each case that failed the reason."""
    from attention_unet.data.predictions import probabilities_path
    from attention_unet.evaluation.calibration import BINS, CALIBRATION, calibrate, to_csv
    from attention_unet.evaluation.reliability_plot import draw_reliability
    from attention_unet.evaluation.result_files import replacing_result

    table, picture = output / CALIBRATION, output / "calibration.png"
    said = {case: path for case, path in references.items() if probabilities_path(predictions, case).is_file()}
    if not said:
        table.unlink(missing_ok=True)
        picture.unlink(missing_ok=True)
        return {}
    with counting(console, "calibration", len(said)) as done:
        found, failed = calibrate(predictions, said, labels, done)
    with replacing_result(output, table.name) as path:
        path.write_text(to_csv(found), encoding="utf-8")
    with replacing_result(output, picture.name) as path:
        draw_reliability(found, path)
    errors = ", ".join(f"{name} {of.error:.4f} ({of.error_where_likely:.4f})" for name, of in found.items())
    log.info(
        "expected calibration error, %s (where a class has at least %.0f%%): %s; see %s",
        counted(len(said) - len(failed), "case"), 100 / BINS, errors, picture,
    )  # fmt: skip
    return failed


def _tell_focus(evaluation: Path, console: Console) -> dict[str, str]:
    """Tell where attention lies, where maps of it were saved; of each case that failed the reason."""
    from attention_unet.evaluation.focus import FOCUS, attended_cases, write_focus
    from attention_unet.evaluation.scored import read_scored

    scored = read_scored(evaluation)
    with counting(console, "attention", len(attended_cases(scored))) as done:
        means, failed = write_focus(evaluation, scored, done)
    for (level, name), of in means.items():
        log.info("attention, level %d, %s: %.2f inside, %.2f outside, AUC %.3f", level, name, *of)
    if means:
        log.info("%s lies in %s", FOCUS, evaluation)
    return failed


def report(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    """Write the report of an evaluation or a run."""
    from attention_unet.atomic import check_replaceable, check_writable
    from attention_unet.evaluation.result_files import SCORED
    from attention_unet.evaluation.scored import read_scored
    from attention_unet.report.report import MARK, write_report
    from attention_unet.run_folder import CONFIG, HELD_OUT, REPORT

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
        from attention_unet.devices import choose_device
        from attention_unet.held_out import evaluate_held_out

        check_writable(output.parent)
        choose_device(options.device)  # a mistake in the call ends it; a dataset that went since leaves a page to write
        runs = [source, *runs]
        try:
            evaluation, failed = evaluate_held_out(source, options.root, options.device, console)
        except (ConfigError, ModelError) as error:
            if options.root:
                raise
            earlier = source / HELD_OUT
            evaluation = earlier if (earlier / SCORED).is_file() else None
            log.warning("warning: %s: %s", "cases are shown as before" if evaluation else "no cases are shown", error)
    elif not source.is_dir():
        raise ConfigError(f"{source}: is no folder: expected that of a run, or one that evaluate wrote")
    elif not (source / SCORED).is_file():
        raise ConfigError(
            f"{source}: holds neither {CONFIG} nor {SCORED}: expected the folder of a run, or one that this version's "
            "evaluate or cross-validate wrote"
        )
    title = source.resolve().name
    if re.fullmatch(r"fold\d+", title):
        title = f"{source.resolve().parent.name} / {title}"
    number = len(read_scored(evaluation).references) if evaluation else 0
    with counting(console, "drawing", min(options.cases, number)) as done:
        failed |= write_report(output, title, evaluation, runs, options.cases, done)
    log.info("the report lies in %s (%.1f MB): open it in a browser", output, output.stat().st_size / 1e6)
    return report_failures(failed)


def explain(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    """Check the attention of a run on cases that it held out."""
    from attention_unet.explanation.explain import explain_run

    if options.cases < 1:
        raise ConfigError(f"--cases is {options.cases}: expected 1 or more")
    run = Path(options.run)
    second = Path(options.second) if options.second else None
    findings, failed = explain_run(run, second, options.cases, options.root, options.device, console)
    for sentence in findings["sentences"]:
        print(sentence)
    log.info("all of it in a page: attention-unet report %s", run)
    return report_failures(failed)


def compare(options: Namespace, parser: ArgumentParser, console: Console) -> int:
    """Compare evaluations of the same cases with the first of them."""
    from attention_unet.atomic import check_replaceable, write_text
    from attention_unet.evaluation.compare import HEADINGS, shared_cases, to_csv
    from attention_unet.evaluation.compare import compare as compare_models
    from attention_unet.evaluation.comparison_input import check_alike, find_models
    from attention_unet.evaluation.comparison_plot import draw_gains
    from attention_unet.evaluation.rows import from_csv
    from attention_unet.figures import MARK

    output = Path(options.output)
    table, picture = output / "comparison.csv", output / "comparison.png"
    check_replaceable(table, ",".join(HEADINGS).encode())
    check_replaceable(picture, MARK)
    folders = find_models(options.evaluations)
    models = {name: [from_csv(folder / "metrics.csv") for folder in runs] for name, runs in folders.items()}
    check_alike(folders, options.metric)
    comparisons = compare_models(models, options.metric)
    left_out = {row.case for runs in models.values() for rows in runs for row in rows} - set(shared_cases(models))
    if left_out:
        log.warning("warning: %s not in all: left out: %s", counted(len(left_out), "case"), some_of(left_out))
    for comparison in comparisons:
        print(comparison)
    if any(comparison.trainings == 1 for comparison in comparisons):
        log.info(
            "one training of each: this compares trained networks, not methods: another seed may turn it around; "
            "with several runs: compare A=FOLDER,FOLDER B=FOLDER,FOLDER"
        )
    write_text(table, to_csv(comparisons))
    draw_gains(comparisons, picture)
    log.info("comparison.csv and comparison.png lie in %s", output)
    return 0
