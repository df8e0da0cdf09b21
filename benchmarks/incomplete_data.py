"""Train on incomplete data: ``python benchmarks/incomplete_data.py slices channels contrasts --work DIR``.

- slices: a tenth of the slices is annotated, beside all slices, and all slices of a tenth of the cases.
- crops: the same on hippocampus crops; a quarter of the heads, another for each seed, is held out.
- classes: half of the cases annotate each class.
- channels: scans of four channels lack some in tests, with and without ``augmentation.drop_channel``.
- contrasts: tests have other contrasts than the training, with and without ``augmentation.synthesize``.
- heads: the same on whole heads; a fifth of them, another for each seed, is held out.

All but crops and heads are phantoms, with the same 20 test cases for all trainings. The table has the mean over seeds
and, beside the first arm, the 95 % interval of the difference over trainings with the same seed. Results are added to
``benchmarks/results/incomplete_data.csv``; ``--write`` writes the tables into docs/incomplete_data.md, between markers.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from incomplete_experiments import EXPERIMENTS, SEED
from publish import REPOSITORY, add_row, around, publish, read_rows
from rich.table import Table

from attention_unet.config import Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.evaluation.interval import interval_of_mean
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.training.checkpoint import STATE
from attention_unet.training.train import train
from attention_unet.training.validation import dice_by_class

FILE = REPOSITORY / "benchmarks" / "results" / "incomplete_data.csv"
DOCUMENT = REPOSITORY / "docs" / "incomplete_data.md"
ROW = ("experiment", "arm", "seed", "test")  # columns that name a result


def results(name: str, options: argparse.Namespace, done: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Train the arms of an experiment, and yield the Dice of each test."""
    pairs = ((seed, EXPERIMENTS[name](options.work, options.data, seed)) for seed in options.seeds)
    trainings = ((seed, experiment, *arm) for seed, experiment in pairs for arm in experiment.arms.items())
    for seed, experiment, arm, (folder, augmentation) in trainings:
        if all((name, arm, str(seed), test) in done for test in experiment.tests):
            continue
        settings = f"synthesize-{augmentation.synthesize:g}-drop_channel-{augmentation.drop_channel:g}"
        run = options.work / "runs" / f"{folder.name}-{settings}-{seed}"  # arms of other experiments may be the same
        config = Config(
            data=DataConfig(root=str(folder), fold=-1, cache=str(options.work / "cache")),
            augmentation=augmentation,
            network=NetworkConfig(base_channels=8),
            training=TrainingConfig(steps=options.steps, validations=1, seed=seed),
        )
        train(config, run, resume=(run / STATE).exists())
        model = load_model(run)
        for test, change in experiment.tests.items():
            dice = []
            for number, case in enumerate(experiment.test_cases.cases):
                volume = read_channels(case)
                label = read_case_label(case, volume)
                changed = change(volume, np.random.RandomState([SEED, number]))
                predicted = predict_volume([model], changed, Settings(drop_small=())).label_map
                dice.append(dice_by_class(predicted, label.array[0].astype(np.int64), experiment.test_cases.labels))
            by_class = np.nanmean(np.array(dice), axis=0)
            yield {
                **dict(zip(ROW, (name, arm, seed, test), strict=True)),
                "dice": f"{by_class.mean():.4f}",
                "lowest_class": f"{by_class.min():.4f}",
                "steps": options.steps,
            }


def tabulate(name: str) -> Table:
    """Return the table of an experiment: mean Dice by test and arm, and differences from the first arm."""
    rows = [row for row in read_rows(FILE) if row["experiment"] == name]
    arms, tests = (list(dict.fromkeys(row[column] for row in rows)) for column in ("arm", "test"))
    table = Table("test", *arms, "trainings")
    for test in tests:
        dice = {(row["arm"], row["seed"]): float(row["dice"]) for row in rows if row["test"] == test}
        seeds = sorted({seed for arm, seed in dice if arm == arms[0]})
        cells = []
        for arm in arms:
            values = [dice[arm, seed] for seed in seeds if (arm, seed) in dice]
            gains = [dice[arm, seed] - dice[arms[0], seed] for seed in seeds if (arm, seed) in dice]
            cell = f"{statistics.mean(values):.3f}" if values else "-"
            if arm != arms[0] and len(gains) > 2:
                low, high = interval_of_mean(gains)
                cell += f" ({statistics.mean(gains):+.3f}, {low:+.3f} to {high:+.3f})"
            cells.append(cell)
        table.add_row(test, *cells, str(len(seeds)))
    return table


def main() -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets and runs")
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder of the real datasets")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: train nothing, print the tables")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/incomplete_data.md")
    options = parser.parse_args()
    for name in options.experiments:
        if options.write:
            around(DOCUMENT, name)
        done = {tuple(row[key] for key in ROW) for row in read_rows(FILE) if int(row["steps"]) == options.steps}
        for row in results(name, options, done) if options.seeds else ():
            print(row, flush=True)
            add_row(FILE, row, ROW)
        publish([tabulate(name)], [], [DOCUMENT] if options.write else [], name)


if __name__ == "__main__":
    main()
