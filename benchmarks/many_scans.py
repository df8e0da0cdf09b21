"""Time what grows with the number of scans: ``python benchmarks/many_scans.py --data FOLDER``

Two tables: 100,000 small scans of which each mask is one byte, so that only the work around the network counts; and 200
real predictions by one process and by two. FOLDER contains Task04_Hippocampus.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from publish import REPOSITORY, commit, parse, publish, run
from rich.table import Table

from attention_unet.dataset.cases import Case
from attention_unet.files.part import WHOLE, Part
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model_file import load_models
from attention_unet.inference.output_folder import claim_output
from attention_unet.inference.record import (
    describe_predictions,
    finish_part,
    hash_files,
    image_names,
    image_state,
    note,
)
from attention_unet.inference.settings import Settings
from attention_unet.inference.structures import write_volumes

LINKS = 60_000  # to one file; file systems allow 65,000
DOCUMENT = REPOSITORY / "docs" / "scaling.md"
MODEL = "hippocampus"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data", help="folder of the real datasets")
    parser.add_argument("--scans", type=int, default=100_000)
    parser.add_argument("--predicted", type=int, default=200)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit, to predict with, too")
    parser.add_argument("--turns", type=int, default=3)
    options = parse(parser, DOCUMENT)
    real = sorted((options.data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))
    with tempfile.TemporaryDirectory() as folder:
        tables = [_work_around(real[0], Path(folder) / "many", options.scans)]
    with tempfile.TemporaryDirectory() as folder:
        tables.append(_predict(real, Path(folder), options.predicted, options.before, options.turns))
    publish(tables, [], options.documents)


def _work_around(scan: Path, folder: Path, count: int) -> Table:
    """Time the start, the record of each scan, and a resume."""
    source, output = folder / "scans", folder / "masks"
    source.mkdir(parents=True)
    for number in range(count):
        file = source / f"scan{number:06d}.nii.gz"
        if number % LINKS == 0:
            shutil.copy(scan, file)
            first = file
        else:
            os.link(first, file)
    models = load_models([MODEL], torch.device("cpu"))
    description = describe_predictions(models, Settings(), [], output)
    table = Table(f"{count:,} scans", "time")

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        table.add_row(name, f"{time.perf_counter() - began:.0f} s")

    def claim(resume: bool) -> list[Case]:
        return claim_output(output, cases, description, [], resume=resume, overwrite=False)

    def write(cases: list[Case]) -> None:
        for case in cases:
            mask = output / f"{case.id}.nii.gz"
            mask.write_bytes(b"1")
            hashes = dict.fromkeys(image_names(case), "0" * 64)
            facts = {"sha256": hashes, "state": image_state(case), "files": hash_files(output, [mask])}
            note(output, {"cases": {case.id: facts}})

    cases: list[Case] = []
    timed("find the scans", lambda: cases.extend(find_inputs(source, 1)))
    timed("find those of a part of 100", lambda: [case for case in cases if Part(7, 100).has(case.id)])
    timed("claim the folder", lambda: claim(False))
    tenth = count // 10
    timed("record the first tenth", lambda: write(cases[:tenth]))
    timed("record eight tenths", lambda: write(cases[tenth:-tenth]))
    timed("record the last tenth", lambda: write(cases[-tenth:]))
    timed("finish run.json", lambda: finish_part(output, WHOLE))
    timed("resume, with nothing left to do", lambda: claim(True))
    timed("write volumes.csv", lambda: write_volumes(output))
    table.add_row("size of run.json", f"{(output / 'run.json').stat().st_size / 2**20:.0f} MiB")
    return table


def _predict(real: list[Path], folder: Path, count: int, before: Path | None, turns: int) -> Table:
    """Time one process with all cores and two with half of them each, in turns; and those of an earlier commit."""
    (folder / "scans").mkdir()
    for number in range(count):
        shutil.copy(real[number % len(real)], folder / "scans" / f"scan{number:06d}.nii.gz")
    contenders: dict[str, tuple[Path, list[str]]] = {
        "one process": (REPOSITORY, []),
        "--jobs 2": (REPOSITORY, ["--jobs", "2"]),
    }
    if before:
        contenders = {f"one process, commit {commit(before)}": (before, []), **contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, (version, options) in contenders.items():
            shutil.rmtree(folder / name, ignore_errors=True)
            command = ["predict", "-i", str(folder / "scans"), "-m", MODEL, "-o", str(folder / name), *options]
            seconds[name].append(run(*command, version=version))
    table = Table(f"{count} hippocampus crops", "time", "scans a second", "peak memory of a process")
    for name, taken in seconds.items():
        median, spread = statistics.median(taken), f" ({min(taken):.0f} to {max(taken):.0f})"
        peak = json.loads((folder / name / "run.json").read_text())["peak_memory_bytes"] / 2**30
        table.add_row(name, f"{median:.0f} s{spread}", f"{count / median:.1f}", f"{peak:.2f} GiB")
    return table


if __name__ == "__main__":
    main()
