"""Compare runtimes of an exported network: ``python benchmarks/runtimes.py --data DATASETS --write``.

Needs onnxruntime and openvino. Real windows are predicted in turns by each runtime. Differences are those of
probabilities from the network in double precision. ``--write`` writes the table into docs/exporting.md.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import torch
from publish import REPOSITORY, median_and_range, parse, publish
from rich.table import Table
from torch import Tensor

from attention_unet.export.program import WindowNetwork, quietly, read_onnx, read_program, write_onnx, write_program
from attention_unet.inference.model_file import load_model
from attention_unet.scans.volumes import read_volume

DOCUMENT, TURNS, SCANS = REPOSITORY / "docs" / "exporting.md", 5, 8


def windows(folder: Path, patch: tuple[int, ...]) -> list[Tensor]:
    """Return a normalised window of each of the first scans."""
    found = []
    for scan in sorted(folder.glob("*.nii.gz"))[:SCANS]:
        values = read_volume(scan).array[0]
        window = torch.zeros(1, 1, *patch)
        box = tuple(slice(min(pair)) for pair in zip(values.shape, patch, strict=True))
        window[0, 0][box] = torch.from_numpy((values - values.mean()) / values.std())[box]
        found.append(window)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of Task04_Hippocampus")
    options = parse(parser, DOCUMENT)
    warnings.simplefilter("ignore")
    model = load_model("hippocampus")
    network = WindowNetwork(model).eval()
    given = windows(options.data / "Task04_Hippocampus" / "imagesTr", model.plan.patch)
    with tempfile.TemporaryDirectory() as folder, quietly(), torch.no_grad():
        onnx, program = Path(folder, "a.onnx"), Path(folder, "a.pt2")
        write_onnx(model, {}, onnx)
        write_program(model, {}, program)
        compiled = openvino.compile_model(str(onnx), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def in_bfloat16(window: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                probabilities: Tensor = network(window)
            return probabilities.float()

        runtimes: dict[str, Callable[[Tensor], Tensor]] = {
            "this package, bfloat16": in_bfloat16,
            "this package, float32": network,
            "torch.export": read_program(program),
            "onnxruntime": read_onnx(onnx),
            "OpenVINO, float32": lambda window: torch.from_numpy(compiled(window.numpy())[0]),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runtimes}
        found: dict[str, list[Tensor]] = {}
        for _ in range(TURNS + 1):  # the first one warms up
            for name, run in runtimes.items():
                began = time.perf_counter()
                found[name] = [run(window) for window in given]
                seconds[name].append((time.perf_counter() - began) / len(given))
        exact = [network.double()(window.double()) for window in given]
    table = Table("runtime", "seconds a window", "range of the turns", "largest difference of a probability")
    for name, times in seconds.items():
        difference = max(float(np.abs(a.double() - b).max()) for a, b in zip(found[name], exact, strict=True))
        table.add_row(name, *median_and_range(times[1:], 3), f"{difference:.0e}")
    size = " x ".join(map(str, model.plan.patch))
    note = f"{len(given)} windows of {size} voxels of hippocampus crops, in {TURNS} turns."
    publish([table], [note, ""], options.documents)


if __name__ == "__main__":
    main()
