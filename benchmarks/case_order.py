"""Measure whether expected Dice finds the worst masks: ``python benchmarks/case_order.py --data data --work DIR``.

On each cohort of ``cohorts.py`` a model is trained for some minutes. Its masks of held-out cases are ordered by
expected Dice, which needs no reference, and by true Dice. The rule that probabilities below 0.1 count as 0 was chosen
on four of the cohorts; the others judge it.
"""

import argparse
import json
import tempfile
from pathlib import Path

from cohort_data import COHORTS, make
from cohorts import attention_unet, train_ours
from publish import REPOSITORY, parse, publish
from rich.table import Table

from attention_unet.evaluation.case_order import measure_order
from attention_unet.evaluation.rows import mean_dice, read_metrics
from attention_unet.files.structure_file import mean_expected_dice, read_structures

CHOSEN_ON = ("crops", "short_axis", "atrium", "tumours")


def measure(name: str, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Train on a cohort and predict its held-out cases. Return expected and true mean Dice of each."""
    dataset = make(name, options.data, options.work / "raw")
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        train_ours(dataset, options.minutes, 0, work)
        predicted, scored = work / "predicted", work / "scores"
        attention_unet("evaluate", "-p", predicted, "-r", dataset / "labelsTr", "-o", scored, "--predicted-only")
        true = mean_dice(read_metrics(scored / "metrics.csv"))
        cases = sorted(true)
        expected = [mean_expected_dice(read_structures(predicted, case)) for case in cases]
    return expected, [true[case] for case in cases]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", nargs="+", choices=COHORTS, default=["five_heads", "oblique", *CHOSEN_ON])
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder of the real datasets")
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets and results so far")
    options = parse(parser)
    table = Table("cohort", "cases", "true Dice", "expected Dice", "rank correlation", "worst fifth found", "by chance")
    for name in options.only:
        file = options.work / f"{name}-{options.minutes:g}.json"
        if not file.exists():
            file.write_text(json.dumps(measure(name, options)))
        expected, true = json.loads(file.read_text())
        correlation, worst, both = measure_order(expected, true)
        ranges = (f"{sum(each) / len(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in (true, expected))
        found = f"{both} of {worst}", f"{worst**2 / len(true):.1f}"
        mark = " (chosen on)" if name in CHOSEN_ON else ""
        table.add_row(name + mark, str(len(true)), *ranges, f"{correlation:.2f}", *found)
    publish([table], [], options.documents)


if __name__ == "__main__":
    main()
