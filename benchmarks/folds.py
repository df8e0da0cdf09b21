"""What a cross-validation found: ``python benchmarks/folds.py runs/hippocampus-folds --write``

The table of ``attention-unet cross-validate``, with what each fold was trained by, and a copy of its learning curves in
docs/, for the README. Where a peer has published what it reached case by case, it stands beside, over the same cases:

    nnunet_hippocampus.csv  nnU-Net v2 (3d_fullres, 1000 epochs) on the 208 cases, each predicted by that of its five
                            folds of 260 which held it out, so trained on 208; output/baseline/Dataset004_Hippocampus
                            of github.com/automl/AutoNNUnet (Becktepe et al. 2025, BSD-3-Clause).
"""

import argparse
import csv
import json
import math
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import yaml
from publish import README, REPOSITORY, around, publish

from attention_unet.cross_validation import tabulate


def main() -> None:
    """Read the folder, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a cross-validation")
    parser.add_argument("--write", action="store_true", help="put the table into the README, the curves into docs/")
    parser.add_argument("--beside", nargs=2, metavar=("PEER", "TABLE"), help="its name, and its Dice: case,class,dice")
    options = parser.parse_args()
    name = options.folder.name.removesuffix("-folds")
    if options.write:
        around(README, name)
    runs = sorted(options.folder.glob("fold*"))
    folds, trained = {}, []
    for run in runs:
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        split = json.loads((run / "splits.json").read_text(encoding="utf-8"))
        with (run / "history.csv").open(encoding="utf-8", newline="") as file:
            last = list(csv.DictReader(file))[-1]
        folds[config["data"]["fold"]] = split["validation"]
        trained.append(
            f"fold {config['data']['fold']}: {len(split['training'])} cases to train on, {last['step']} steps in "
            f"{float(last['minutes']):.1f} minutes, seed {config['training']['seed']}"
        )
    table = tabulate(options.folder / "metrics.csv", folds)
    notes = [f"Trained: {'; '.join(trained)}."]
    if options.beside:
        peer, theirs = options.beside[0], dice_by_case(Path(options.beside[1]))
        cases = [*folds.values(), [case for held_out in folds.values() for case in held_out]]
        table.add_row(peer, *(f"{statistics.mean(theirs[case] for case in some):.4f}" for some in cases))
        notes.append(compared(dice_by_case(options.folder / "metrics.csv"), peer, theirs, cases[-1]))
    publish(table, notes, README if options.write else None, name)
    if options.write:
        shutil.copy(options.folder / "curves.png", REPOSITORY / "docs" / f"{name}-curves.png")


def dice_by_case(file: Path) -> dict[str, float]:
    """Mean Dice over the classes of each case of a table case,class,dice."""
    classes: dict[str, list[float]] = {}
    with file.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened):
            classes.setdefault(row["case"], []).append(float(row["dice"]))
    return {case: statistics.mean(dice) for case, dice in classes.items()}


def compared(ours: dict[str, float], peer: str, theirs: dict[str, float], cases: Sequence[str]) -> str:
    """How much better or worse than a peer ours is, case by case."""
    differences = [ours[case] - theirs[case] for case in cases]
    half = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    return (
        f"Ours minus {peer}, case by case: {statistics.mean(differences):+.4f}, 95 % interval ± {half:.4f}; better in "
        f"{sum(difference > 0 for difference in differences)} of {len(cases)} cases."
    )


if __name__ == "__main__":
    main()
