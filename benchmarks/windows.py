"""Compare ways to lay windows: ``python benchmarks/windows.py RUN [RUN ...]``.

The model of each run predicts its held-out scans in turns: with windows that overlap by half over whole scans, with the
overlap that its training chose, and, if it has a locator, in the part that the locator finds.
"""

import argparse
import json
import statistics
from functools import partial
from pathlib import Path

import numpy as np
from publish import RESULTS, around, publish
from rich.table import Table
from turns import Work, take_turns

from attention_unet.dataset.cases import find_cases, locate_dataset
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.files.run_folder import read_paths
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.training.train import read_config
from attention_unet.training.validation import dice_by_class

WAYS = {
    "overlap 0.5, whole scan": Settings(overlap=0.5, whole_scan=True),
    "whole scan": Settings(whole_scan=True),
    "default": Settings(),
}


def start(run: Path, most: int, settings: Settings) -> tuple[tuple[int, float], Work]:
    """Return the number of scans and their mean Dice, and the prediction of all of them."""
    model = load_model(run)
    dataset = find_cases(locate_dataset(read_paths(run).get("data.root"), read_config(run).data.dataset))
    held_out = json.loads((run / "splits.json").read_text())[0]["val"][:most]
    cases = [case for case in dataset.cases if case.id in held_out]
    volumes = [read_channels(case) for case in cases]
    labels = model.plan.labels
    found = [predict_volume([model], volume, settings).label_map for volume in volumes]
    scores = [
        np.nanmean(dice_by_class(label_map, read_case_label(case, volume).array[0].astype(np.int64), labels))
        for case, volume, label_map in zip(cases, volumes, found, strict=True)
    ]
    return (len(cases), float(np.mean(scores))), lambda: [predict_volume([model], v, settings) for v in volumes]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--scans", type=int, default=3, help="held-out scans of each run, at most")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    options = parser.parse_args()
    if options.write:
        around(RESULTS, "windows")
    table = Table("run", "windows", "Dice", "s per scan", "times as fast", "lowest to highest")
    for run in options.runs:
        starts = [partial(start, run, options.scans, settings) for settings in WAYS.values()]
        told, seconds = take_turns(starts, options.threads, options.turns)
        for way, (scans, score), taken in zip(WAYS, told, seconds, strict=True):
            ratios = [before / after for before, after in zip(seconds[0], taken, strict=True)]
            table.add_row(
                run.name,
                way,
                f"{score:.4f}",
                f"{statistics.median(taken) / scans:.2f}",
                f"{statistics.median(ratios):.1f}",
                f"{min(ratios):.1f} to {max(ratios):.1f}",
            )
    publish([table], [f"{options.threads} threads, {options.turns} turns."], [RESULTS] if options.write else [])


if __name__ == "__main__":
    main()
