"""What a cross-validation found: ``python benchmarks/folds.py runs/hippocampus-folds --write``

The table of ``attention-unet cross-validate``, with what each fold was trained by, and a copy of its learning curves in
docs/, for the README.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path

import yaml
from publish import README, REPOSITORY, publish

from attention_unet.cross_validation import tabulate


def main() -> None:
    """Read the folder, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a cross-validation")
    parser.add_argument("--write", action="store_true", help="put the table into the README, the curves into docs/")
    options = parser.parse_args()
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
    name = options.folder.name.removesuffix("-folds")
    publish(table, [f"Trained: {'; '.join(trained)}."], README if options.write else None, name)
    if options.write:
        shutil.copy(options.folder / "curves.png", REPOSITORY / "docs" / f"{name}-curves.png")


if __name__ == "__main__":
    main()
