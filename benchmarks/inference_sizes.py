"""Measure the cost of prediction by scan size: ``python benchmarks/inference_sizes.py``.

A network of four classes predicts scans of 64 x 64 x 64 to 512 x 512 x 512 voxels, from a compressed file to the label
map, each in its own process. The scans are noise, so that no window is skipped as background.
"""

import argparse
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from gpu_rows import plan_of
from matplotlib.figure import Figure
from publish import REPOSITORY, parse, publish
from rich.table import Column, Table

from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import CPU
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.settings import Settings
from attention_unet.inference.window_predictor import place_network
from attention_unet.machine.memory import peak_memory, reuse_freed_memory
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.pictures.figures import save_figure
from attention_unet.training.validation import OVERLAP

EDGES = (64, 96, 128, 192, 256, 384, 512)
WINDOW = (64, 64, 64)
CLASSES = 4
PICTURE = REPOSITORY / "docs" / "inference-sizes.png"


def make_model() -> Model:
    """Return an untrained network of the size that a training on a CPU has."""
    torch.manual_seed(0)
    network = AttentionUNet(Architecture(out_channels=1 + CLASSES, decoder_convs=1)).eval()
    return Model(place_network(network, CPU), plan_of(network.architecture, WINDOW, 2), CPU, overlap=OVERLAP)


def write_noise(path: Path, edge: int) -> None:
    """Write a scan of noise, in 16-bit integers like a scanner."""
    scan = np.empty((edge, edge, edge), dtype=np.int16)
    noise = np.random.default_rng(0)
    for k in range(edge):
        scan[..., k] = noise.normal(400, 60, size=(edge, edge))
    nib.save(nib.Nifti1Image(scan, np.eye(4)), path)


def predict(scan: Path, memory: int | None, threads: int) -> tuple[float, int]:
    """Return the seconds of a scan, and the peak memory of the process (with libraries) in bytes."""
    torch.set_num_threads(threads)
    reuse_freed_memory()
    model = make_model()
    began = time.perf_counter()
    cases = find_inputs(scan, channels=1)
    failed = predict_files(cases, scan.parent / "out", [model], Settings(memory=memory), lambda share: None)
    seconds = time.perf_counter() - began
    if failed:
        raise SystemExit(str(failed))
    return seconds, peak_memory(CPU) or 0


def draw(voxels: list[float], seconds: list[float], peaks: list[float], output: Path) -> None:
    """Plot seconds and memory over voxels; the dashed line through the last point is proportional to voxels."""
    figure = Figure(figsize=(8.4, 3.2), dpi=110, layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    time_axes.loglog(voxels, [v * seconds[-1] / voxels[-1] for v in voxels], "--", color="grey", label="in proportion")
    time_axes.loglog(voxels, seconds, "o-", label="measured")
    time_axes.set(xlabel="million voxels", ylabel="seconds")
    time_axes.legend(frameon=False)
    memory_axes.plot(voxels, peaks, "o-")
    memory_axes.set(xlabel="million voxels", ylabel="peak memory of the process, GiB", ylim=(0, None))
    for axes in (time_axes, memory_axes):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, output)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=EDGES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-gb", type=float, help="see attention-unet predict")
    options = parse(parser)
    memory = options.memory_gb and round(options.memory_gb * 2**30)
    table = Table(*(Column(heading, justify="right") for heading in ("voxels", "s", "million voxels/s", "peak GiB")))
    voxels, seconds, peaks = [], [], []
    for edge in options.edges:
        with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(1) as pool:
            scan = Path(folder) / "scan.nii.gz"
            write_noise(scan, edge)
            taken, peak = pool.apply(predict, (scan, memory, options.threads))
        voxels.append(edge**3 / 1e6)
        seconds.append(taken)
        peaks.append(peak / 2**30)
        table.add_row(f"{edge}³", f"{taken:.1f}", f"{voxels[-1] / taken:.2f}", f"{peaks[-1]:.2f}")
        print(f"{edge}: {taken:.1f} s, {peaks[-1]:.2f} GiB", flush=True)
    size = " x ".join(map(str, WINDOW))
    notes = [f"Windows of {size}, overlap {OVERLAP}, {CLASSES} classes; file to file, one run."]
    if options.write:
        draw(voxels, seconds, peaks, PICTURE)
    publish([table], notes, options.documents)


if __name__ == "__main__":
    main()
