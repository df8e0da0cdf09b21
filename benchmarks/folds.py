"""What a cross-validation found: ``python benchmarks/folds.py runs/hippocampus-folds --write``

The tables of ``attention-unet cross-validate``, with what each fold was trained by, and its learning curves in docs/,
for the README and the card of the model of that name, if one is shipped. Where others have published what they reached
case by case, they stand beside, over the same cases:

    nnunet_hippocampus.csv  nnU-Net v2 (3d_fullres, 1000 epochs) on the 208 cases, each predicted by that of its five
                            folds of 260 which held it out, so trained on 208; output/baseline/Dataset004_Hippocampus
                            of github.com/automl/AutoNNUnet (Becktepe et al. 2025, BSD-3-Clause).

Of the folder, ``metrics.csv`` is read, and of each fold ``config.yaml``, ``splits.json`` and ``history.csv``.
"""

import argparse
import csv
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

import yaml
from publish import README, REPOSITORY, around, publish

from attention_unet.cross_validation import tabulate_folds
from attention_unet.evaluation.remarks import Remarks
from attention_unet.evaluation.rows import from_csv
from attention_unet.evaluation.summary import summarise, tabulate
from attention_unet.inference.model import SHIPPED
from attention_unet.training.curves import draw_trainings


def main() -> None:
    """Read the folder, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a cross-validation")
    parser.add_argument("--write", action="store_true", help="put the tables into the documents, the curves into docs/")
    parser.add_argument(
        "--beside",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "TABLE"),
        help="another's Dice of the same cases, as case,class,dice; more than once for several",
    )
    options = parser.parse_args()
    name = options.folder.name.removesuffix("-folds")
    documents = [README, *SHIPPED.glob(f"{name}.md")] if options.write else []
    for document in documents:
        around(document, name)
    rows = from_csv(options.folder / "metrics.csv")
    folds: dict[int, list[str]] = {}
    trained_on, steps, budgets = [], [], []
    scored = {row.case for row in rows}
    for run in sorted(options.folder.glob("fold*")):
        split = json.loads((run / "splits.json").read_text(encoding="utf-8"))
        if not scored >= set(split["validation"]):
            continue  # not done yet
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        with (run / "history.csv").open(encoding="utf-8", newline="") as file:
            last = list(csv.DictReader(file))[-1]
        folds[config["data"]["fold"]] = split["validation"]
        trained_on.append(str(len(split["training"])))
        steps.append(last["step"])
        budgets.append(f"{float(last['minutes']):.1f} minutes, seed {config['training']['seed']}")
    by_fold = tabulate_folds(rows, folds)
    by_fold.add_row("cases trained on", *trained_on)
    by_fold.add_row("steps", *steps)
    notes = [f"Trained for {'; '.join(dict.fromkeys(budgets))}."]
    ours = dice_by_case(options.folder / "metrics.csv")
    for other, table in options.beside:
        theirs = dice_by_case(Path(table))
        columns = [*folds.values(), list(ours)]
        cells = [[theirs[case] for case in cases] if theirs.keys() >= set(cases) else [] for cases in columns]
        by_fold.add_row(other, *(f"{statistics.mean(dice):.4f}" if dice else "-" for dice in cells))
        notes.append(compared(ours, other, theirs))
    publish([by_fold, tabulate(summarise(rows, Remarks(), {}))], notes, documents, name)
    if options.write:
        histories = {f"fold {fold}": options.folder / f"fold{fold}" / "history.csv" for fold in folds}
        draw_trainings(histories, REPOSITORY / "docs" / f"{name}-curves.png")


def dice_by_case(file: Path) -> dict[str, float]:
    """Mean Dice over the classes of each case of a table case,class,dice."""
    classes: dict[str, list[float]] = {}
    with file.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            classes.setdefault(row["case"], []).append(float(row["dice"]))
    return {case: statistics.mean(dice) for case, dice in classes.items()}


def compared(ours: Mapping[str, float], other: str, theirs: Mapping[str, float]) -> str:
    """How much better or worse than another ours is, case by case, over the cases that both have."""
    differences = [ours[case] - theirs[case] for case in ours if case in theirs]
    half = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    better = sum(difference > 0 for difference in differences)
    return (
        f"Ours minus {other}, case by case: {statistics.mean(differences):+.4f}, 95 % interval ± {half:.4f} "
        f"(1.96 standard errors); better in {better} of {len(differences)} cases."
    )


if __name__ == "__main__":
    main()
