"""Print the summary of an evaluation as a table, with its warnings."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from attention_unet.errors import plural
from attention_unet.evaluation.summary import Statistics, Summary
from attention_unet.scans.labels import FOREGROUND, MEAN


def tabulate(summary: Summary) -> Table:
    """Return the summary as a table: one row per class, one for their mean and one for the foreground."""
    persons = f" of {plural(summary.n_subjects, 'person')}" if summary.n_subjects < summary.n_cases else ""
    title = f"{plural(summary.n_cases, 'case')}{persons}, mean ± standard deviation"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("class", overflow="fold", min_width=10)
    for heading in ("Dice", "95% interval", "HD95 mm", "NSD", "ml (true)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, metrics in summary.classes.items():
        table.add_row(name, *_cells(metrics))
    dice, distance = summary.mean_of_classes["dice"], summary.mean_of_classes["hd95_mm"]
    table.add_section()
    table.add_row(
        MEAN,
        _spread(dice, 4, 3) if dice else _mean_of_classes(summary, "dice", 4),
        _interval(dice) if dice else "",
        _spread(distance, 2, 2) if distance else _mean_of_classes(summary, "hd95_mm", 2),
        _mean_of_classes(summary, "nsd", 3),
        "",
    )
    if summary.foreground:
        table.add_row(FOREGROUND, *_cells(summary.foreground))
    return table


def print_table(summary: Summary, console: Console) -> None:
    """Print the summary, undefined and infinite values, and the worst cases."""
    lines = []
    for name, metrics in summary.classes.items():
        unannotated = metrics["volume_ml"].n_undefined
        if empty := metrics["dice"].n_undefined - unannotated:
            lines.append(f"{name}: both masks are empty in {plural(empty, 'case')}, left out of the means")
        if unannotated:
            lines.append(f"{name}: not annotated in {plural(unannotated, 'case')}, left out of the means")
        if infinite := metrics["hd95_mm"].n_infinite:
            others, mean = metrics["hd95_mm"].n - infinite, metrics["hd95_mm"].finite_mean
            rest = f"; mean of the others {mean:.2f} mm, n = {others}" if others else ""
            lines.append(f"{name}: missed or invented in {plural(infinite, 'case')}, where HD95 is infinite{rest}")
    if summary.worst_cases:
        worst = ", ".join(f"{case} {value:.3f}" for case, value in summary.worst_cases.items())
        lines.append(f"worst cases, mean Dice: {worst}")
    console.print(tabulate(summary))
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _cells(metrics: Mapping[str, Statistics]) -> list[str]:
    """Return the cells of the table for a class."""
    predicted, true = metrics["volume_ml"].mean, metrics["reference_volume_ml"].mean
    return [
        _spread(metrics["dice"], 4, 3),
        _interval(metrics["dice"]),
        _spread(metrics["hd95_mm"], 2, 2),
        "-" if metrics["nsd"].mean is None else f"{metrics['nsd'].mean:.3f}",
        "-" if predicted is None or true is None else f"{predicted:.2f} ({true:.2f})",
    ]


def _mean_of_classes(summary: Summary, metric: str, digits: int) -> str:
    """Return the mean of the classes that occur."""
    if any(of_class[metric].n_infinite for of_class in summary.classes.values()):
        return "∞"
    mean = summary.foreground_mean[metric]
    return "-" if mean is None else f"{mean:.{digits}f}"


def _interval(statistics: Statistics) -> str:
    return "-" if statistics.ci95 is None else "{:.3f} to {:.3f}".format(*statistics.ci95)


def _spread(statistics: Statistics, digits: int, digits_of_spread: int) -> str:
    if statistics.n_infinite:
        return "∞"
    if statistics.mean is None:
        return "-"
    if statistics.sd is None:
        return f"{statistics.mean:.{digits}f}"
    return f"{statistics.mean:.{digits}f} ± {statistics.sd:.{digits_of_spread}f}"
