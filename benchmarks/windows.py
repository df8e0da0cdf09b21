"""Compare ways to lay windows: ``python benchmarks/windows.py RUN [RUN ...]``.

The model of each run predicts its held-out scans in turns: with windows that overlap by half over whole scans, with the
overlap that its training chose, and, if it has a locator, in the part that the locator finds.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from publish import median_and_range, parse, publish
from rich.table import Table

from attention_unet.config import DataConfig
from attention_unet.dataset.cases import Case
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.reading import read_case_label, read_channels
from attention_unet.dataset.splits import read_held_out
from attention_unet.files.run_folder import read_paths
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.scans.volumes import Volume
from attention_unet.training.train import read_config
from attention_unet.training.validation import dice_by_class

WAYS = {
    "overlap 0.5, whole scan": Settings(overlap=0.5, whole_scan=True),
    "whole scan": Settings(whole_scan=True),
    "default": Settings(),
}


def score(model: Model, cases: Sequence[Case], settings: Settings) -> float:
    """Return the mean Dice of scans."""
    found = []
    for case in cases:
        volume = read_channels(case)
        reference = read_case_label(case, volume).array[0].astype(np.int64)
        found.append(dice_by_class(predict_volume([model], volume, settings).label_map, reference, model.plan.labels))
    return float(np.nanmean(np.nanmean(found, axis=0)))


def measure(model: Model, volumes: Sequence[Volume], settings: Settings) -> float:
    """Return the seconds of a prediction of all scans."""
    began = time.perf_counter()
    for volume in volumes:
        predict_volume([model], volume, settings)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--scans", type=int, default=3, help="held-out scans of each run, at most")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parse(parser)
    table = Table("run", "windows", "Dice", "s per scan", "times as fast", "lowest to highest")
    for run in options.runs:
        model = load_model(run)
        dataset = find_dataset(DataConfig(root=read_paths(run).get("data.root"), dataset=read_config(run).data.dataset))
        held_out = read_held_out(run, [case.id for case in dataset.cases])[: options.scans]
        cases = [case for case in dataset.cases if case.id in held_out]
        volumes = [read_channels(case) for case in cases]
        scores = [score(model, cases, settings) for settings in WAYS.values()]
        turns = [[measure(model, volumes, settings) for settings in WAYS.values()] for _ in range(options.turns)]
        seconds = list(zip(*turns, strict=True))
        for way, dice, taken in zip(WAYS, scores, seconds, strict=True):
            ratios = [before / after for before, after in zip(seconds[0], taken, strict=True)]
            each = statistics.median(taken) / len(cases)
            table.add_row(run.name, way, f"{dice:.4f}", f"{each:.2f}", *median_and_range(ratios, 1))
    publish([table], [f"{options.threads} threads, {options.turns} turns."], options.documents)


if __name__ == "__main__":
    main()
