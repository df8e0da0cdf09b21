"""Tabulate Dice by fold."""

import math
import statistics
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from attention_unet.evaluation.rows import Row
from attention_unet.scans.labels import FOREGROUND


def tabulate_folds(rows: Sequence[Row], folds: Mapping[int, Sequence[str]]) -> Table:
    """Return a table of the mean Dice of each class by fold, and over all folds with the standard deviation."""
    columns = {f"fold {fold}": set(cases) for fold, cases in folds.items()}
    columns["all"] = {case for cases in folds.values() for case in cases}
    table = Table(title="Dice by fold", title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    table.add_column("class", no_wrap=True)
    for name, cases in columns.items():
        table.add_column(f"{name} ({len(cases)})", justify="right", no_wrap=True)
    means: dict[str, list[float]] = {name: [] for name in columns}
    for label in dict.fromkeys(row.class_name for row in rows if row.class_name != FOREGROUND):
        cells = []
        for name, cases in columns.items():
            values = [row.metrics.dice for row in rows if row.class_name == label and row.case in cases]
            dice = [value for value in values if not math.isnan(value)]
            means[name] += [statistics.mean(dice)] if dice else []
            spread = f" ± {statistics.stdev(dice):.3f}" if name == "all" and len(dice) > 1 else ""
            cells.append(f"{statistics.mean(dice):.4f}{spread}" if dice else "-")
        table.add_row(label, *cells)
    mean_cells = (f"{statistics.mean(values):.4f}" if values else "-" for values in means.values())
    table.add_row("mean of classes", *mean_cells)
    return table
