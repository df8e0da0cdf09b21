"""Write what a study has found so far: tables, sentences and a picture, from the results of its finished cells."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_unet.errors import plural
from attention_unet.files.atomic import write_text
from attention_unet.files.csv_text import csv_text
from attention_unet.pictures.figures import save_figure
from attention_unet.scans.label_table import colour_of
from attention_unet.study.cells import CELLS, check_same_data, is_done
from attention_unet.study.design import Cell, Study
from attention_unet.study.registration import Registration
from attention_unet.study.scores import METRICS, read_scores
from attention_unet.study.verdicts import Results, Verdict, judge

SENTENCES, TABLE, PICTURE, RESULTS = "study.md", "verdicts.csv", "study.png", "results.csv"
NUMBERS = ("gain", "error", "freedom", "low95", "high95", "low90", "high90", "p", "p_holm")


def write_study(study: Study, registration: Registration, folder: Path) -> list[Verdict]:
    """Write verdicts and results of the cells that are done into the folder of the study.

    Returns:
        The verdicts, one for each hypothesis and size.

    Raises:
        ConfigError: if a cell was run with another configuration.
        DataError: if results are damaged, or trainings that are compared had different data.
    """
    done = [cell for cell in study.cells() if is_done(study, cell, folder)]
    check_same_data(done, folder)
    results = {cell: read_scores(folder / CELLS / f"{cell.name}.csv") for cell in done}
    verdicts = judge(study, results)
    write_text(folder / RESULTS, _results_csv(results))
    write_text(folder / TABLE, _verdicts_csv(verdicts))
    write_text(folder / SENTENCES, _describe(study, registration, verdicts, len(results)))
    if results:
        _draw(study, verdicts, results, folder / PICTURE)
    return verdicts


def _describe(study: Study, registration: Registration, verdicts: Sequence[Verdict], done: int) -> str:
    """Return the verdicts as text, with what was recorded before the first training."""
    total = len(study.cells())
    lines = [f"# {study.question}", "", *(f"- {verdict}" for verdict in verdicts), ""]
    lines.append(
        f"{done} of {plural(total, 'training')} finished. Recorded on {registration.date}, before the first training; "
        f"sha256 {registration.sha256}. Margin: {study.margin:g} of mean Dice. P values are corrected by Holm for "
        f"{plural(len(verdicts), 'claim')}."
    )
    for change in registration.amendments:
        lines.append(f"Amended on {change['date']} ({change['changed']}): {change['reason']}")
    return "\n".join(lines) + "\n"


def _results_csv(results: Results) -> str:
    head = ["arm", "cases_trained_on", "seed", "fold", "step", "case", "subject", "class", *METRICS]
    rows = [
        [
            *(cell.arm, "all" if cell.cases is None else cell.cases, cell.seed, cell.fold),
            *(score.step, score.case, score.subject, score.class_name),
            *(f"{getattr(score, name):.6g}" for name in METRICS),
        ]
        for cell, scores in results.items()
        for score in scores
    ]
    return csv_text([head, *rows])


def _verdicts_csv(verdicts: Sequence[Verdict]) -> str:
    head = ["arm", "against", "expect", "cases_trained_on", "verdict", "trainings", "missing", *NUMBERS]
    rows = []
    for each in verdicts:
        numbers = (each.gain, each.error, each.freedom, *each.interval(0.95), *each.interval(0.9), each.p, each.p_holm)
        claim, size = each.claim, "all" if each.size is None else each.size
        names = [claim.arm, claim.against, claim.expect, size, each.word, len(each.blocks), each.missing]
        rows.append([*names, *(f"{number:.6g}" for number in numbers)])
    return csv_text([head, *rows])


def _draw(study: Study, verdicts: Sequence[Verdict], results: Results, output: Path) -> None:
    """Draw the gain of each claim with the margin, and Dice over the steps for each arm."""
    figure = Figure(figsize=(11, max(0.5 * len(verdicts) + 1.4, 3.2)), dpi=110, layout="constrained")
    gains, curves = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_gains(gains, verdicts, study.margin)
    _draw_curves(curves, study, results)
    save_figure(figure, output)


def _draw_gains(axes: Axes, verdicts: Sequence[Verdict], margin: float) -> None:
    """Draw a row for each verdict: a dot for each pair of trainings, the mean, its 95 % and 90 % interval."""
    axes.axvspan(-margin, margin, color="0.9")
    axes.axvline(0, color="black", linewidth=0.8)
    for height, each in enumerate(verdicts):
        axes.scatter(list(each.blocks.values()), [height + 0.25] * len(each.blocks), s=14, color="0.45", zorder=2)
        for level, width in ((0.95, 1.5), (0.9, 4)):
            axes.plot(each.interval(level), (height, height), color="tab:blue", linewidth=width, zorder=3)
        axes.plot(each.gain, height, "D", color="tab:blue", markeredgecolor="black", markersize=7, zorder=4)
    names = [
        f"{each.claim.arm} against {each.claim.against}" + (f" ({each.size})" if each.size else "") for each in verdicts
    ]
    axes.set_yticks(range(len(verdicts)), names)
    axes.set_ylim(len(verdicts) - 0.5, -0.5)
    axes.set_xlabel("gain of mean Dice; grey: the margin; dots: pairs of trainings")
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_curves(axes: Axes, study: Study, results: Results) -> None:
    """Draw the mean Dice over the steps, for each arm with all its trainings."""
    for number, arm in enumerate(study.arms):
        by_step: dict[int, list[float]] = {}
        for cell, scores in results.items():
            if cell == Cell(arm, study.sizes[0], cell.seed, cell.fold):
                for step in {score.step for score in scores}:
                    dice = [s.dice for s in scores if s.step == step and not math.isnan(s.dice)]
                    by_step.setdefault(step, []).extend(dice)
        steps = sorted(by_step)
        axes.plot(steps, [np.mean(by_step[step]) for step in steps], "o-", color=colour_of(number), label=arm)
    axes.set_xlabel("steps")
    axes.set_ylabel("mean Dice of held-out cases")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
