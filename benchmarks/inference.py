"""Compare prediction with MONAI: ``python benchmarks/inference.py --data $ATTENTION_UNET_DATA``.

The shipped model is compared with MONAI's SlidingWindowInferer and AttentionUnet of the same channels. Both use the
same windows, overlap and Gaussian weights. They predict a volume of 192 x 256 x 192 voxels, and hippocampus cases one
by one. Ours goes from the scan to the label map on the scan's grid, MONAI from the preprocessed tensor to the argmax.
Hippocampus cases tile the volume, so that it has no background, which ours would skip.
"""

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from peers import monai_attention_unet
from publish import median_and_range, parse, publish, run, table_of
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from turns import MATRIX, Work, product, take_turns

from attention_unet.config import DataConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.reading import read_channels
from attention_unet.evaluation.metrics import dice
from attention_unet.inference.model_file import CPU, load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.inference.window_predictor import window_predictor
from attention_unet.machine.devices import choose_precision
from attention_unet.machine.memory import peak_memory, reuse_freed_memory
from attention_unet.preparation.preprocessing import preprocess
from attention_unet.scans.volumes import Volume, volume_of_array

MODEL = "hippocampus"
OVERLAP = 0.5
BATCH = 4  # windows per batch, MONAI
OWN_BATCH = 1  # batch of our prediction in bfloat16 on a CPU


@dataclass(frozen=True)
class Result:
    """Result of a contender.

    Attributes:
        voxels: number of voxels per turn.
        label_maps: all label maps, flattened.
        memory: peak memory in bytes.
    """

    voxels: int
    label_maps: NDArray[np.uint8]
    memory: int


def scans_of(what: str, data: str | None, cases: int) -> list[Volume]:
    """Return the hippocampus cases, or the volume tiled with them."""
    dataset = find_dataset(DataConfig(root=data, dataset="Task04_Hippocampus"))
    volumes = [read_channels(case) for case in dataset.cases[:cases]]
    if what == "cases":
        return volumes
    whole = np.zeros((192, 256, 192), dtype=np.float32)
    for i in range(0, 192, 32):
        for j in range(0, 256, 32):
            for k in range(0, 192, 24):
                volume = volumes[(i + j + k) // 8 % len(volumes)]
                z = (volume.array[0] - volume.array.mean()) / volume.array.std()
                tile = np.tile(z, (2, 2, 2))[:32, :32, :24]
                whole[i : i + 32, j : j + 32, k : k + 24] = tile
    return [volume_of_array(whole, np.eye(4))]


def start_ours(what: str, data: str | None, cases: int, fast: bool) -> tuple[Result, Work]:
    """Return our result, and the work from scans to label maps."""
    reuse_freed_memory()  # as our prediction does
    model, volumes = load_model(MODEL), scans_of(what, data, cases)
    settings = Settings(None if fast else torch.float32, OVERLAP)

    def work() -> list[NDArray[Any]]:
        return [np.asarray(predict_volume([model], volume, settings).label_map).ravel() for volume in volumes]

    found = np.concatenate(work())
    return Result(sum(v.array[0].size for v in volumes), found, peak_memory(CPU) or 0), work


def start_monai(what: str, data: str | None, cases: int, fast: bool) -> tuple[Result, Work]:
    """Return MONAI's result, and the work from preprocessed tensors to label maps."""
    model, volumes = load_model(MODEL), scans_of(what, data, cases)
    plan = model.plan
    network = monai_attention_unet(plan.architecture.channels, len(plan.channels), plan.labels.channels).eval()
    images = [preprocess(volume, plan.preprocessing).image[None] for volume in volumes]
    inferer = SlidingWindowInferer(plan.patch, sw_batch_size=BATCH, overlap=OVERLAP, mode="gaussian")

    def work() -> list[NDArray[np.uint8]]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return [inferer(image, network)[0].argmax(dim=0).numpy().astype(np.uint8).ravel() for image in images]

    found = np.concatenate(work())
    return Result(sum(v.array[0].size for v in volumes), found, peak_memory(CPU) or 0), work


def start_forward() -> tuple[int, Work]:
    """Return the operations of our network alone, and the work: five batches."""
    reuse_freed_memory()
    model = load_model(MODEL)
    windows = torch.randn(OWN_BATCH, len(model.plan.channels), *model.plan.patch)
    predict = window_predictor(model.network, model.plan, choose_precision("auto", CPU), ())

    def work() -> object:
        with torch.inference_mode():
            return [predict(windows) for _ in range(5)]

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops(), work


def cold_start(*arguments: str) -> float:
    """Return the seconds of a command from start to end: median of three runs."""
    return statistics.median(run(*arguments) for _ in range(3))


def agreement(result: Result, other: Result) -> float:
    """Return the mean Dice of the classes between two contenders."""
    classes = np.unique(other.label_maps[other.label_maps > 0])
    return statistics.mean(dice(result.label_maps == c, other.label_maps == c) for c in classes)


def compare(what: str, options: argparse.Namespace, table: Table) -> str:
    """Time all contenders on the same scans; add their rows; return a note on bfloat16 against float32."""
    names = ["MONAI, as it comes", "MONAI, bfloat16", "ours, float32", "ours"]
    ways = [(start_monai, False), (start_monai, True), (start_ours, False), (start_ours, True)]
    starts = [partial(start, what, options.data, options.cases, fast) for start, fast in ways]
    turns = options.volume_turns if what == "volume" else options.turns
    results, seconds = take_turns(starts, options.threads, turns)
    for name, facts, taken in zip(names, results, seconds, strict=True):
        ratio = statistics.median(theirs / own for own, theirs in zip(taken, seconds[0], strict=True))
        rate = facts.voxels / statistics.median(taken) / 1e6
        cells = (*median_and_range(taken, 2), f"{rate:.2f}", f"{ratio:.2f}", f"{facts.memory / 2**20:.0f}")
        table.add_row(f"{what}: {name}", *cells)
    return f"{what}: {turns} turns; ours agrees with ours in float32, Dice {agreement(results[3], results[2]):.4f}."


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of datasets (default: $ATTENTION_UNET_DATA or data)")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--volume-turns", type=int, default=2, help="turns of the volume: minutes each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=["volume", "cases"])
    options = parse(parser)
    table = table_of("", "s", "lowest to highest", "million voxels/s", "times as fast", "peak MiB")
    notes = [compare(what, options, table) for what in options.only]
    (most, forward), (at_most, taken) = take_turns([product, start_forward], options.threads, 3 * options.turns)
    of_best = [forward / own / (most / best) for own, best in zip(taken, at_most, strict=True)]
    best = f"{statistics.median(of_best):.0%}"
    case = find_dataset(DataConfig(root=options.data, dataset="Task04_Hippocampus")).cases[0].images[0]
    with tempfile.TemporaryDirectory() as output:
        one = cold_start("predict", "-i", str(case.absolute()), "-o", output, "-m", MODEL, "--overwrite")
    windows = " x ".join(map(str, load_model(MODEL).plan.patch))
    notes += [
        f"Windows of {windows}, overlap {OVERLAP}; median, lowest and highest.",
        f"From a cold start, attention-unet --help takes {cold_start('--help'):.1f} s, a hippocampus case {one:.1f} s.",
        f"Our network alone: {best} of the rate of a product of matrices of {MATRIX} x {MATRIX} in bfloat16.",
    ]
    publish([table], notes, options.documents)


if __name__ == "__main__":
    main()
