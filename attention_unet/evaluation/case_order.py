"""Measure how well the expected Dice, which predict writes without a reference, orders masks by their true Dice."""

import logging
from collections.abc import Sequence

import numpy as np

from attention_unet.errors import DataError, plural
from attention_unet.evaluation.evaluated_files import EvaluatedFiles
from attention_unet.evaluation.rows import Row, mean_dice
from attention_unet.files.structure_file import mean_expected_dice, read_structures

log = logging.getLogger(__name__)

LEAST = 10  # with fewer cases, no order is reported


def measure_order(expected: Sequence[float], true: Sequence[float]) -> tuple[float, int, int]:
    """Compare the order of cases by expected Dice with that by true Dice. Neither may be constant.

    Returns:
        Spearman's rank correlation; the number of the worst cases, a fifth of all, rounded up; and how many of them are
        among as many cases with the lowest expected Dice.
    """
    from scipy.stats import spearmanr  # takes half a second to import

    worst = -(-len(true) // 5)
    lowest = [set(np.argsort(values, kind="stable")[:worst]) for values in (expected, true)]
    return float(spearmanr(expected, true).statistic), worst, len(lowest[0] & lowest[1])


def log_order(files: EvaluatedFiles, rows: Sequence[Row]) -> None:
    """Log how well the order of ``volumes.csv`` finds the worst masks, if predict described at least ten of them."""
    expected_of: dict[str, float] = {}
    for case in files.predicted:
        try:
            if structures := read_structures(*files.folder_and_stem(case)):
                expected_of[case] = mean_expected_dice(structures)
        except DataError as error:  # it may be of another program
            log.warning("left out of the order of masks: %s", error)
    true = mean_dice(rows)
    cases = sorted(case for case in true if case in expected_of)
    expected, dice = [expected_of[case] for case in cases], [true[case] for case in cases]
    if len(cases) < LEAST or len(set(expected)) == 1 or len(set(dice)) == 1:
        return
    correlation, worst, found = measure_order(expected, dice)
    log.info(
        "expected Dice of predict orders these %s with a rank correlation of %.2f: %d of the %d worst masks are among "
        "the first %d of volumes.csv (%.1f by chance)",
        *(plural(len(cases), "case"), correlation, found, worst, worst, worst**2 / len(cases)),
    )
