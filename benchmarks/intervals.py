"""Simulate coverage of intervals and false verdicts: ``python benchmarks/intervals.py --write``

Coverage: samples of 3 to 200 cases are drawn from a normal distribution and from the Dice of our own cross-validation,
which are skewed. Each sample gives a 95 % interval of the mean, by Student's t as in the program, and by the percentile
bootstrap that the program used before. Cases are also drawn as persons with two scans.

False verdicts: two equal methods are trained and compared, with the variances of our runs (of a whole training, and of
a case in a training). The result is how often ``compare`` calls one of them better at the 5 % level.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from publish import REPOSITORY, parse, publish, table_of
from rich.table import Column, Table

from attention_unet.evaluation.compare import compare
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.evaluation.metrics import METRICS, CaseMetrics
from attention_unet.evaluation.rows import Row, mean_dice, read_metrics

Values = NDArray[np.float64]
SIZES = (3, 6, 15, 42, 200)
RESAMPLES = 1000  # bootstrap samples
OF_A_CASE = 0.0042  # standard deviation of a case in a training, from fold 2 trained with two seeds
OF_A_RUN = (0.0, 0.0004, 0.0012, 0.0025)  # shared by all cases of a training; the last from ten pairs of studies/crops
OF_A_FOLD = 0.003  # of the gain, beyond its cases
CASES = 42  # per fold
DESIGNS = ((1, 1), (1, 3), (5, 1), (5, 2), (5, 3), (10, 1))  # folds, runs
UNDEFINED = dict.fromkeys(METRICS, float("nan"))


def main() -> None:
    """Simulate and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=4000)
    options = parse(parser, REPOSITORY / "docs" / "statistics.md")
    random = np.random.default_rng(0)
    notes = [
        f"{options.simulations} simulations a figure of the first table, {options.simulations // 4} of the second."
    ]
    tables = [coverage(random, options.simulations), false_verdicts(random, options.simulations)]
    publish(tables, notes, options.documents)


def coverage(random: np.random.Generator, simulations: int) -> Table:
    """Measure how often 95 % intervals cover the true mean, by number of cases."""
    dice = mean_dice(read_metrics(Path(__file__).parent / "results" / "hippocampus-folds" / "metrics.csv"))
    ours = np.array(list(dice.values()))

    def of_ours(size: int) -> Values:
        drawn: Values = ours[random.integers(len(ours), size=size)] - ours.mean()
        return drawn

    def normal(size: int) -> Values:
        return random.normal(size=size)

    table = Table("cases drawn from", "interval", *(Column(str(size), justify="right") for size in SIZES))
    for name, draw in {"Dice of our cases": of_ours, "normal": normal}.items():
        for way in ("Student's t", "percentile bootstrap"):
            cells = []
            for size in SIZES:
                covered = 0
                for _ in range(simulations):
                    values = draw(size)
                    low, high = interval_of_mean(values) if way == "Student's t" else bootstrap(values, random)
                    covered += low <= 0 <= high
                cells.append(f"{covered / simulations:.3f}")
            table.add_row(name, way, *cells)
    for way, known in (("Student's t over persons", True), ("Student's t over scans", False)):
        cells = []
        for size in SIZES:
            covered = 0
            for _ in range(simulations):
                person = np.repeat(random.normal(size=size), 2) + random.normal(0, 0.9, 2 * size)  # correlation 0.55
                subjects = np.repeat(np.arange(size), 2).astype(str).tolist() if known else []
                low, high = interval_of_mean(person, subjects)
                covered += low <= 0 <= high
            cells.append(f"{covered / simulations:.3f}")
        table.add_row("normal, two scans a person", way, *cells)
    return table


def bootstrap(values: Values, random: np.random.Generator) -> tuple[float, float]:
    """Return the percentile-bootstrap interval of the mean."""
    draws = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def false_verdicts(random: np.random.Generator, simulations: int) -> Table:
    """Measure how often equal methods are called different, by number of trainings."""
    spreads = [f"SD of a training {spread:g}" for spread in OF_A_RUN]
    table = table_of("each method trained", *spreads, f"{OF_A_RUN[1]:g}; of a fold {OF_A_FOLD:g}")
    for folds, runs in DESIGNS:
        name = f"{folds} fold{'s' * (folds > 1)}, {runs} run{'s' * (runs > 1)}"
        rates = [wrong(random, folds, runs, spread, 0, simulations // 4) for spread in OF_A_RUN]
        rates.append(wrong(random, folds, runs, OF_A_RUN[1], OF_A_FOLD, simulations // 4))
        table.add_row(name, *(f"{rate:.3f}" for rate in rates))
    return table


def wrong(
    random: np.random.Generator, folds: int, runs: int, of_a_run: float, of_a_fold: float, simulations: int
) -> float:
    """Return the share of simulated comparisons that call one of two equal methods better."""
    count = 0
    for _ in range(simulations):
        level = random.normal(0.89, 0.031, folds * CASES)
        models = {}
        for method in "ab":
            together = np.repeat(random.normal(0, of_a_run, (runs, folds)), CASES, axis=1)
            of_folds = np.repeat(random.normal(0, of_a_fold, folds), CASES) if method == "b" else 0.0
            values = level + of_folds + together + random.normal(0, OF_A_CASE, (runs, folds * CASES))
            models[method] = [
                [
                    Row(
                        str(i), "c", CaseMetrics(**UNDEFINED | {"dice": dice}), "", str(i // CASES) if folds > 1 else ""
                    )
                    for i, dice in enumerate(of_run)
                ]
                for of_run in values.tolist()
            ]
        (found,) = compare(models, "dice")
        count += found.significant
    return count / simulations


if __name__ == "__main__":
    main()
